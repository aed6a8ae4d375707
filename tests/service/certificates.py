"""Certificates for tests, made when they are needed."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@attrs.frozen
class Identity:
    """Files of a certificate and its key."""

    cert: Path
    key: Path


@attrs.define
class Authority:
    """Signs certificates for 127.0.0.1.

    Args:
        folder: Where the files go.
        name: Its name.
    """

    folder: Path
    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = attrs.field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def cert(self) -> Path:
        """Its own certificate, as clients and servers trust it."""
        path = self.folder / f"{self.name}.pem"
        if not path.exists():
            made = self._sign(self.name, self.key.public_key(), -DAY, DAY, authority=True)
            path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return path

    def identity(self, name: str, *, begins: datetime.timedelta = -DAY, ends: datetime.timedelta = DAY) -> Identity:
        """A certificate that is valid from and until then, counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(name, key.public_key(), begins, ends, authority=False)
        found = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        found.cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        found.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        )
        return found

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        begins: datetime.timedelta,
        ends: datetime.timedelta,
        *,
        authority: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256())
