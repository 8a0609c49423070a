# The recipes of Comptoir. `just` alone lists them.

target := "wasm32-wasip2"

# What `just run` and `just dev` serve: `just manifest=shop.toml dev`.
manifest := env("COMPTOIR_MANIFEST", "host/comptoir.toml")

# The components that it names and that are built here: it names them target/wasm32-wasip2/component/NAME.wasm.
components := shell('sed -nE "s|^[^#]*component *= *[^#]*$2/component/([A-Za-z0-9_-]+)[.]wasm.*|\\1|p" "$1" | sort -u | xargs', manifest, target)

# Their packages, for cargo, which turns a - of a package's name into the _ of a file's.
packages := replace(replace_regex(components, '(\S+)', "-p '$1'"), "_", "[_-]")

# The host's packages for cargo. Always these, because with others cargo unites other features and compiles wasmtime again.
host_packages := "--locked --workspace --exclude 'guest-*'"

# What `just run` serves and the recipes for a running host use.
comptoir := "target/debug/comptoir"

# A panic of a component names the file of a library. Without this that is a path of whoever built it, and differs elsewhere.
export CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS := "--remap-path-prefix=" + trim_end_match(env("CARGO_HOME", home_directory() / ".cargo"), "/") + "=/cargo"

[private]
default:
    @just --list --unsorted

# Build everything and serve the shop on http://127.0.0.1:8000
run *arguments: build
    {{comptoir}} serve --manifest {{quote(manifest)}} --data data {{arguments}}

# Run every test; `just test NAME` runs those whose names contain it
test *filter: components guests
    # Half of the tests' time is waiting, so two at once for each processor.
    RUST_TEST_THREADS=$((2 * {{num_cpus()}})) cargo test {{host_packages}} -- {{filter}}

# Run the suite on PostgreSQL, on a server of its own that goes afterwards; needs its programs (Debian: apt-get install postgresql)
test-postgres *filter: components guests
    #!/usr/bin/env bash
    set -euo pipefail
    # Debian keeps the server's programs out of the path.
    PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
    command -v initdb >/dev/null || { echo "there is no initdb: install PostgreSQL 14 or newer" >&2; exit 1; }
    folder=$(mktemp -d)
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "$password" > "$folder/password"
    # An authority, and the server's certificate that leads to it.
    new_key=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    "${new_key[@]}" -x509 -days 2 -subj /CN=authority -keyout "$folder/ca.key" -out "$folder/ca.pem" 2>/dev/null
    "${new_key[@]}" -subj /CN=server -keyout "$folder/server.key" -out "$folder/server.csr" 2>/dev/null
    openssl x509 -req -days 2 -in "$folder/server.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
        -extfile <(echo subjectAltName=IP:127.0.0.1) -out "$folder/server.pem" 2>/dev/null
    # The server's own user reads the key, the tests the rest.
    chmod 600 "$folder"/*.key
    # The server does not run as root.
    as=(env "PATH=$PATH")
    if [ "$(id -u)" = 0 ]; then
        as=(runuser -u postgres -- "${as[@]}")
        chown -R postgres "$folder"
    fi
    in_folder() { (cd "$folder" && "${as[@]}" "$@"); }
    trap 'in_folder pg_ctl -D data -m immediate -s stop || true; rm -rf "$folder"' EXIT
    in_folder initdb -D data -U comptoir --pwfile=password --auth=scram-sha-256 --encoding=UTF8 --locale=C >/dev/null
    # No sync: nobody keeps what the tests write.
    settings="-c unix_socket_directories=$folder -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off"
    settings+=" -c max_connections=400 -c ssl=on -c ssl_cert_file=$folder/server.pem -c ssl_key_file=$folder/server.key"
    # A port that nothing else has.
    tried=0
    until in_folder pg_ctl -D data -s -w -l log start -o "$settings -c port=$((port = 20000 + RANDOM % 12000))"; do
        ((++tried < 5)) || { cat "$folder/log" >&2; exit 1; }
    done
    export COMPTOIR_TEST_POSTGRES="postgres://comptoir:$password@127.0.0.1:$port/postgres"
    export COMPTOIR_TEST_POSTGRES_AUTHORITY="$folder/ca.pem"
    cargo test {{host_packages}} --lib -- --include-ignored postgres:: {{filter}}
    # Left out is what is about files, about answers that are remembered (here none is), and what fills tables for minutes.
    about_files="answers:: backup:: crashes:: no_token_and_no_password_lies each_installation a_backup_holds_every_key
        a_full_database a_database_that_fails_is_not a_file_that_is_no_database whose_session_ends_while_it_waits_for_the_writer million::"
    RUST_TEST_THREADS=$((2 * {{num_cpus()}})) cargo test {{host_packages}} --test all -- \
        --include-ignored $(printf -- '--skip %s ' $about_files) {{filter}}

# Try what must hold whatever is asked with so many cases of each: a few are in `just test`
fuzz cases="10000": components guests
    PROPTEST_CASES={{cases}} cargo test {{host_packages}} --test all -- properties::

# Format, documents, lints with warnings refused, documentation
check: toolchain
    cargo fmt --all --check
    .ci/documents
    cargo clippy {{host_packages}} --all-targets -- -D warnings
    cargo clippy --locked --profile component --target {{target}} {{packages}} -p 'guest-*' -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps -p comptoir -p comptoir-storage -p kit {{packages}}

# Print 72 random comments and messages with file and line, to judge whether they read well. The same seed prints the same ones
prose-sample seed:
    @.ci/prose-sample {{seed}}

# Licences, banned crates and sources of all that is built in. The first time it installs cargo-deny, which takes some minutes
deny:
    @command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
    cargo deny --workspace --locked --config .ci/deny.toml check bans licenses sources

# What is known to be wrong with what is built in. Fetches the RustSec database from its git repository
advisories:
    @command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
    cargo deny --workspace --locked --config .ci/deny.toml check advisories

# Build the components and the host for development: target/debug/comptoir
build: components
    @[ -e {{comptoir}} ] || echo "The first build compiles the host's 400 dependencies: about ten minutes on two cores."
    cargo build {{host_packages}} --bin comptoir

# Build the archive for other machines, optimised: target/dist/comptoir-VERSION-ARCHITECTURE-linux.tar.gz
dist: components
    @[ -e target/release/comptoir ] || echo "The first optimised build takes about half an hour on two cores."
    cargo build {{host_packages}} --release --bin comptoir
    host/packaging/package target/release/comptoir target/dist

# Build the components that the manifest names: target/wasm32-wasip2/component/*.wasm
components: toolchain
    cargo build --locked --profile component --target {{target}} {{packages}}

# Build the manifest's components twice, as they were committed, in folders and with a cargo home of other names, and compare them
reproduce: toolchain
    #!/usr/bin/env bash
    set -euo pipefail
    # Whoever builds may have their own.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET_DIR CARGO_TARGET_DIR
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    ln -s "${CARGO_HOME:-$HOME/.cargo}" "$folder/another-home"
    git clone --quiet . "$folder/one"
    git clone --quiet . "$folder/another/place"
    (cd "$folder/one" && just components)
    (cd "$folder/another/place" && CARGO_HOME="$folder/another-home" just components)
    for component in {{components}}; do
        built=target/{{target}}/component/$component.wasm
        cmp "$folder/one/$built" "$folder/another/place/$built"
        (cd "$folder/one" && sha256sum "$built")
    done

# Build the components that only the tests deploy
guests: toolchain
    cargo build --locked --profile component --target {{target}} -p 'guest-*'

# Serve the shop and take up every change of a component's source
dev *arguments: build
    #!/usr/bin/env bash
    set -u
    {{comptoir}} serve --manifest {{quote(manifest)}} --data data --watch {{arguments}} &
    host=$!
    trap 'kill "$host" 2>/dev/null; wait "$host"' EXIT
    stamp=$(mktemp)
    while kill -0 "$host" 2>/dev/null; do
        if [ -n "$(find components wit -type f -newer "$stamp" -print -quit)" ]; then
            touch "$stamp"
            echo "building the components"
            just manifest={{quote(manifest)}} components || echo "not built: the old revisions go on serving"
        fi
        sleep 0.3
    done

# Build one component and put it in charge in the running host
upgrade service *arguments: toolchain
    cargo build --locked --quiet --profile component --target {{target}} -p {{service}}
    {{comptoir}} deploy {{service}} target/{{target}}/component/{{service}}.wasm {{arguments}}

# Go back to the revision before, at once
rollback service *arguments:
    {{comptoir}} rollback {{service}} {{arguments}}

# What is tried on a share of the callers (`just upgrade orders --canary 5%`), or another share for it
canary *arguments:
    {{comptoir}} canary {{arguments}}

# Put what is tried in charge
promote *arguments:
    {{comptoir}} promote {{arguments}}

# End what is tried: everybody is served as before
abort *arguments:
    {{comptoir}} abort {{arguments}}

# What became of a service's revisions
history service *arguments:
    {{comptoir}} history {{service}} {{arguments}}

# What serves now, and how it does
status *arguments:
    {{comptoir}} status {{arguments}}

# Swap a component under load, 1,000 times unless told otherwise, and print what that cost
swap-lab *arguments: components
    .ci/measured swap-lab {{arguments}} -- cargo bench {{host_packages}} --bench swap_lab --

# Refuse logins of every kind, 300 times each unless told otherwise, and print whether their time tells who has an account
timing-lab *arguments: components
    .ci/measured timing-lab {{arguments}} -- cargo bench {{host_packages}} --bench timing_lab --

# Compare with a native server, about five minutes: `just bench --help` lists the parts; --quick, --url flask=127.0.0.1:5000
bench *arguments: components guests
    .ci/measured bench {{arguments}} -- cargo bench {{host_packages}} --bench bench --

# Measure the parts of a request in process; `just bench-micro NAME` those whose names contain it
bench-micro *filter: components guests
    cargo bench {{host_packages}} --bench micro -- {{filter}}

# Go through every benchmark once, briefly, to see that each works
bench-once: components guests
    cargo test {{host_packages}} --bench bench --bench micro

# Install the server that `just bench` also compares with. Takes some minutes
bench-tools:
    cargo install --locked wasmtime-cli --version 48.0.8 --no-default-features --features run,serve,cranelift,pooling-allocator,parallel-compilation,component-model-async,threads

# Kill a serving host, 200 times unless told otherwise, cut its power, fill its disk, stop it, and print what it kept of its word
crash-lab *arguments: components
    .ci/measured crash-lab {{arguments}} -- cargo bench {{host_packages}} --bench crash_lab --

# Run every attack of the hostile components beside load on a sibling, and print what that and the host's memory notice
hostile-lab *arguments: components guests
    .ci/measured hostile-lab {{arguments}} -- cargo bench {{host_packages}} --bench hostile_lab --

# Fill each table that clients can fill with a million rows, a few minutes, and use the shop with the limits that it ships with
rows-lab: components
    cargo test {{host_packages}} --test all -- --ignored --test-threads 1 million::

# Delete the databases, the keys and the compiled code of the shop
clean-data:
    rm -rf data

# What cannot be declared in Cargo.toml: the compiler's target for components
[private]
toolchain:
    @rustup target list --installed | grep -qx {{target}} || rustup target add {{target}}
