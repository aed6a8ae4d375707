"""Where journals live: the contract, and the stores that come with replay."""
