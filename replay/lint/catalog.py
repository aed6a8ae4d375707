"""What is known of the world's functions: which names reach for clock, chance, environment, I/O, output, threads or loops.

Rule 1: names are written in full, as they are after every import alias is resolved: ``datetime.datetime.now``.
Rule 2: what is not in a table is innocent. A miss costs a later surprise; a false alarm costs the linter its readers.
Rule 3: a method is written as ``class.method``; the class of a value is inferred where that is certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from replay.lint import rules

SET: Final = "builtins.set"
PATH: Final = "pathlib.Path"
LOGGER: Final = "logging.Logger"


def _names(prefix: str, words: str) -> list[str]:
    return [f"{prefix}.{word}" for word in words.split()]


_FUNCTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    rules.CLOCK: {
        "time": "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time "
        "thread_time_ns clock_gettime clock_gettime_ns sleep localtime gmtime ctime asctime strftime",
        "datetime.datetime": "now utcnow today",
        "datetime.date": "today",
        "arrow": "now utcnow",
        "pendulum": "now today tomorrow yesterday",
        "pandas.Timestamp": "now utcnow today",
        "django.utils.timezone": "now localtime localdate",
    },
    rules.RANDOMNESS: {
        "secrets": "choice randbelow randbits token_bytes token_hex token_urlsafe SystemRandom",
        "random": "Random SystemRandom betavariate binomialvariate choice choices expovariate gammavariate gauss getrandbits "
        "lognormvariate normalvariate paretovariate randbytes randint random randrange sample seed shuffle triangular uniform "
        "vonmisesvariate weibullvariate getstate setstate",
        "numpy.random": "default_rng RandomState SeedSequence",
        "os": "urandom getrandom",
        "uuid": "uuid1 uuid4 uuid6 uuid7 getnode",
    },
    rules.ENVIRONMENT: {
        "os": "environ environb getenv getenvb putenv unsetenv getpid getppid getlogin getcwd getcwdb uname cpu_count "
        "process_cpu_count getuid geteuid getgid getegid getgroups getloadavg get_terminal_size",
        "os.path": "abspath realpath expanduser expandvars",
        "sys": "argv orig_argv platform executable",
        "socket": "gethostname getfqdn",
        "getpass": "getuser",
        "locale": "getlocale getdefaultlocale getpreferredencoding",
        "multiprocessing": "cpu_count current_process",
        "shutil": "get_terminal_size which",
        "time": "tzname timezone altzone",
        PATH: "cwd home expanduser absolute resolve",
    },
    rules.IO: {
        "builtins": "open input",
        "io": "open",
        "codecs": "open",
        "gzip": "open",
        "bz2": "open",
        "lzma": "open",
        "webbrowser": "open",
        "getpass": "getpass",
        "os": "open read write close listdir scandir walk fwalk remove unlink rename renames replace mkdir makedirs rmdir "
        "removedirs stat lstat chmod lchmod chown lchown link symlink readlink access truncate ftruncate utime fsync pipe "
        "chdir system popen startfile statvfs sync mkfifo",
        "os.path": "exists lexists isfile isdir islink ismount getsize getmtime getatime getctime samefile",
        PATH: "read_text read_bytes write_text write_bytes open exists is_file is_dir is_symlink is_mount iterdir glob rglob "
        "walk mkdir rmdir unlink rename replace touch stat lstat chmod samefile symlink_to hardlink_to readlink owner group",
        "numpy": "load save savez loadtxt savetxt fromfile genfromtxt",
        "pandas": "read_csv read_parquet read_excel read_sql read_sql_query read_sql_table read_table read_feather",
        "sqlalchemy": "create_engine",
        "sys": "stdin",
        "replay": "run",
    },
    rules.OUTPUT: {
        "builtins": "print",
        "rich": "print",
        "click": "echo secho",
        "pprint": "pprint pp",
        "traceback": "print_exc print_exception print_stack print_tb",
        "sys": "stdout stderr",
        "logging": "debug info warning error exception critical fatal log",
        LOGGER: "debug info warning warn error exception critical fatal log",
        "loguru.logger": "trace debug info success warning error exception critical log",
    },
    rules.THREADS: {
        "os": "fork forkpty posix_spawn posix_spawnp kill killpg wait waitpid abort",
        "queue": "Queue SimpleQueue LifoQueue PriorityQueue",
        "signal": "signal alarm setitimer pause sigwait pthread_kill",
        "sched": "scheduler",
        "joblib": "Parallel",
    },
    rules.HASH: {"builtins": "hash id"},
}

EXACT: Final[Mapping[str, str]] = {
    name: code for code, groups in _FUNCTIONS.items() for prefix, words in groups.items() for name in _names(prefix, words)
}
"""Functions, methods and values, by full name; a name with a small letter is found without a call, too."""

FAMILIES: Final[Mapping[str, str]] = {
    "numpy.random": rules.RANDOMNESS,
    "platform": rules.ENVIRONMENT,
    **dict.fromkeys(
        "requests requests.api httpx urllib3 urllib.request aiohttp subprocess socket sqlite3 shutil tempfile glob psycopg "
        "psycopg2 asyncpg pymysql aiosqlite boto3 redis".split(),
        rules.IO,
    ),
}
"""Modules of which every function (small first letter) does one thing when it is called."""

WHOLE: Final[Mapping[str, str]] = {
    **dict.fromkeys("threading _thread multiprocessing concurrent.futures".split(), rules.THREADS),
    **dict.fromkeys("asyncio anyio trio curio uvloop".split(), rules.ASYNC),
}
"""Modules of which every call, of functions and classes at any depth, does one thing; exceptions are excepted."""

CLASSES: Final[Mapping[str, str]] = dict.fromkeys(
    [
        *_names("requests", "Session"),
        *_names("httpx", "Client AsyncClient"),
        *_names("aiohttp", "ClientSession"),
        *_names("urllib3", "PoolManager HTTPConnectionPool HTTPSConnectionPool"),
        *_names("http.client", "HTTPConnection HTTPSConnection"),
        *_names("subprocess", "Popen"),
        *_names("sqlite3", "Connection Cursor"),
        *_names("socket", "socket"),
        *_names("tempfile", "TemporaryDirectory NamedTemporaryFile TemporaryFile SpooledTemporaryFile"),
        *_names("smtplib", "SMTP SMTP_SSL"),
        *_names("ftplib", "FTP FTP_TLS"),
        *_names("imaplib", "IMAP4 IMAP4_SSL"),
        *_names("psycopg", "Connection AsyncConnection"),
        *_names("redis", "Redis StrictRedis"),
        *_names("pymongo", "MongoClient"),
        *_names("sqlalchemy", "Engine"),
        *_names("openai", "OpenAI AsyncOpenAI"),
        *_names("anthropic", "Anthropic AsyncAnthropic"),
        *_names("replay", "Engine Client"),
    ],
    rules.IO,
)
"""Classes that are a door to the world: building one, or calling a method of one that comes from outside."""

PURE: Final = frozenset(
    [
        *_names("socket", "inet_aton inet_ntoa inet_pton inet_ntop htons htonl ntohs ntohl"),
        *_names("glob", "escape translate has_magic"),
        *_names("urllib.request", "quote unquote pathname2url url2pathname urlparse urlsplit"),
        *_names("tempfile", "gettempprefix"),
        *_names("subprocess", "list2cmdline"),
        *_names("sqlite3", "complete_statement"),
    ]
)
"""Innocent members of the modules above."""

PURE_WITH: Final[Mapping[str, int]] = {
    **dict.fromkeys(_names("time", "localtime gmtime ctime asctime"), 1),
    **dict.fromkeys(_names("numpy.random", "default_rng RandomState SeedSequence"), 1),
    "time.strftime": 2,
    "random.Random": 1,
}
"""Functions that are pure when called with so many arguments: a moment to convert, a seed."""

SAYS: Final[Mapping[str, str]] = {
    rules.CLOCK: "reads the machine's clock",
    rules.RANDOMNESS: "draws what no replay will draw again",
    rules.ENVIRONMENT: "depends on the machine and the process",
    rules.IO: "reaches the outside world without a step",
    rules.OUTPUT: "comes again with every replay",
    rules.THREADS: "leaves the workflow's own order",
    rules.ASYNC: "needs an event loop, and a workflow has none",
    rules.HASH: "differs from process to process",
}
"""What is wrong with a call, by code; the source of the call stands before it."""

SAYS_OF: Final[Mapping[str, str]] = {
    "time.sleep": "blocks the worker and is forgotten in a crash",
    "builtins.input": "waits for a person at this one machine",
    "replay.run": "drives another run inside of this one",
}

ADVICE_OF: Final[Mapping[str, str]] = {
    "time.sleep": "write `yield from sleep(seconds)`: a durable timer",
    "builtins.input": "wait for the person with `yield from signal(name, type)`",
    "asyncio.sleep": "write `yield from sleep(seconds)`: a durable timer",
    "asyncio.gather": "write `yield from gather(...)` of replay",
    "asyncio.create_task": "write `yield from spawn(...)`",
    "asyncio.wait_for": "write `yield from timeout(branch, seconds)`",
    "asyncio.timeout": "write `yield from timeout(branch, seconds)`",
    "replay.run": "yield the workflow's call as a child run, or use `start_child`",
    "replay.Engine": "use effects: a child run, `start_child`, `send_signal`",
    "replay.Client": "use effects: a child run, `start_child`, `send_signal`",
    "random.Random": "give it a seed that is the same in every replay, or write `yield from random()`",
    **dict.fromkeys(_names("uuid", "uuid1 uuid4 uuid6 uuid7"), "write `yield from uuid()`: the same in every replay"),
    **dict.fromkeys(
        [*_names("datetime.datetime", "now utcnow today"), "datetime.date.today", *_names("time", "time time_ns")],
        "write `yield from now()`: the workflow's own clock",
    ),
    **dict.fromkeys(_names("openai", "OpenAI AsyncOpenAI"), "write `yield from llm_call(...)`, or call it in a @step"),
    **dict.fromkeys(_names("anthropic", "Anthropic AsyncAnthropic"), "write `yield from llm_call(...)`, or call it in a @step"),
}
"""Advice that fits one function better than its rule's."""

RETURNS: Final[Mapping[str, str]] = {
    SET: SET,
    "builtins.frozenset": SET,
    **dict.fromkeys(_names(SET, "union intersection difference symmetric_difference copy"), SET),
    PATH: PATH,
    **dict.fromkeys(
        _names(PATH, "joinpath with_name with_suffix with_stem with_segments relative_to cwd home absolute resolve expanduser"),
        PATH,
    ),
    **dict.fromkeys(["logging.getLogger", "structlog.get_logger", "structlog.getLogger", "logging.LoggerAdapter"], LOGGER),
}
"""Class of what a call gives, where the class has methods named above."""

ATTRIBUTES: Final[Mapping[str, str]] = {f"{PATH}.parent": PATH}
"""Class of what an attribute gives."""

ANNOTATIONS: Final[Mapping[str, str]] = {
    "builtins.frozenset": SET,
    **dict.fromkeys(_names("typing", "Set FrozenSet AbstractSet MutableSet"), SET),
    **dict.fromkeys(_names("collections.abc", "Set MutableSet"), SET),
    "logging.LoggerAdapter": LOGGER,
    "structlog.BoundLogger": LOGGER,
    "structlog.stdlib.BoundLogger": LOGGER,
}
"""Class that an annotation means, where it is not its own name."""


def code_of(name: str, *, arguments: int | None) -> str | None:
    """The rule that a name breaks, or None.

    Args:
        name: Full name of a function, method, class or value.
        arguments: How many it is called with, or None when it is only named.
    """
    called = arguments is not None
    if PURE_WITH.get(name, 1_000) <= (arguments or 0):
        return None
    named = name.rpartition(".")[2][:1].islower()
    if name in EXACT and (called or named):
        return EXACT[name]
    if not called or name in PURE:
        return None
    return CLASSES.get(name) or (FAMILIES.get(name.rpartition(".")[0]) if named else None) or _of_whole(name)


def code_of_instance(kind: str) -> str | None:
    """The rule that using a value of this class breaks, or None; the class is known by name or by what built it."""
    code = CLASSES.get(kind) or (code_of(kind, arguments=1) if kind else None)
    return code if code in {rules.IO, rules.THREADS} else None


def _of_whole(name: str) -> str | None:
    if name.endswith(("Error", "Exception", "Warning")):
        return None
    parts = name.split(".")
    return next((code for end in range(len(parts) - 1, 0, -1) if (code := WHOLE.get(".".join(parts[:end])))), None)
