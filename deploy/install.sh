#!/bin/sh
# Brings what the Makefile's targets need, and nothing twice.
#   deploy/install.sh            .venv, from requirements.lock
#   deploy/install.sh --servers  Java and Maven for the embedded Kafka as well
#   deploy/install.sh --faults   a C compiler, for the fault that steps a clock, and PgBouncer as well
# With apt where it may (root on Debian or Ubuntu), otherwise it says in a line what to install.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command quietly, with a word every few seconds on what it does; its output is shown when it fails.
quietly() {
    output=$(mktemp)
    tell_of "$output" $$ 9>&- &
    teller=$!
    if ! "$@" > "$output" 2>&1 < /dev/null; then
        kill "$teller" 2> /dev/null || :
        tail -n 30 "$output" >&2
        rm -f "$output"
        die "Failed: $*"
    fi
    kill "$teller" 2> /dev/null || :
    rm -f "$output"
}

# The last line of an output, again and again while the process that waits for it lives.
tell_of() {
    waited=0
    while sleep 5 > /dev/null 2>&1 && kill -0 "$2" 2> /dev/null; do
        waited=$((waited + 5))
        last=$(tail -n 1 "$1" 2> /dev/null | tr -d '\r' | cut -c 1-90)
        say "  … ${waited} s${last:+: $last}"
    done
}

may_use_apt() { [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; }

apt_get() {
    quietly env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

# Debian and Ubuntu each offer some of these; maven alone would bring the distribution's default, on Ubuntu 22.04 Java 11.
java_package() {
    for version in 17 21 25; do
        package=openjdk-$version-jre-headless
        if apt-cache show "$package" > /dev/null 2>&1; then echo "$package"; return; fi
    done
    echo default-jre-headless
}

servers() {
    [ -z "${KAFKA_BOOTSTRAP_SERVERS:-}" ] || return 0 # a running Kafka is used, so nothing of this is needed
    missing=
    command -v java > /dev/null || [ -x "${JAVA_HOME:-}/bin/java" ] || missing="Java 17+"
    command -v mvn > /dev/null || missing="${missing:+$missing and }Maven"
    [ -n "$missing" ] || return 0
    may_use_apt || die "The embedded Kafka needs $missing: install that (Debian, Ubuntu: sudo apt-get install" \
        "openjdk-17-jre-headless maven), or set KAFKA_BOOTSTRAP_SERVERS to a running Kafka."
    say "Installing $missing with apt for the embedded Kafka (once, about a minute)"
    apt_get update
    mkdir -p /usr/share/man/man1 # slim images lack it, and Java's installation wants it
    case $missing in
        *Java*) apt_get install --no-install-recommends "$(java_package)" maven ;;
        *) apt_get install --no-install-recommends maven ;;
    esac
}

# A fault less is no reason to stop: without them a run says that it left the clock alone, and tests with a
# pooler are skipped.
faults() {
    missing=
    command -v cc > /dev/null || missing="gcc libc6-dev"
    command -v pgbouncer > /dev/null || [ -x /usr/sbin/pgbouncer ] || missing="$missing pgbouncer"
    [ -n "$missing" ] || return 0
    may_use_apt || return 0
    say "Installing with apt for the tests: $missing"
    apt_get update
    # shellcheck disable=SC2086 # words of ours
    apt_get install --no-install-recommends $missing
}

virtual_environment() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null ||
        die "Clusterflow needs Python 3.11 or newer as $python; name another with PYTHON=/path/to/python make …"
    wanted=$({ echo "$PWD"; "$python" --version; cat requirements.lock pyproject.toml; } | cksum)
    if [ -f .venv/.installed ] && [ "$(cat .venv/.installed)" = "$wanted" ]; then return; fi
    if ! "$python" -c 'import ensurepip' 2> /dev/null; then
        may_use_apt || die "$python lacks its venv module: install it (Debian, Ubuntu: sudo apt-get install python3-venv)."
        say "Installing python3-venv with apt"
        apt_get update
        apt_get install --no-install-recommends python3-venv
    fi
    say "Installing Clusterflow's packages into .venv (once, about a minute)"
    rm -f .venv/.installed
    # A directory that was moved or whose Python is gone is made anew.
    if [ ! -x .venv/bin/python ] || [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2> /dev/null)" != "$PWD/.venv" ] ||
        [ "$(.venv/bin/python --version)" != "$("$python" --version)" ]; then
        quietly "$python" -m venv --clear .venv
    fi
    set -- .venv/bin/python -m pip --disable-pip-version-check --no-input install --progress-bar off --no-deps
    quietly "$@" --no-compile --require-hashes -r requirements.lock # Python compiles what is used when it is
    quietly "$@" --no-build-isolation --editable .
    echo "$wanted" > .venv/.installed
}

# Two makes at once take turns; where there is no flock (macOS) they are trusted not to meet.
if command -v flock > /dev/null; then
    exec 9< requirements.lock
    flock 9
fi
[ "${1:-}" != --servers ] || servers
[ "${1:-}" != --faults ] || faults
virtual_environment
