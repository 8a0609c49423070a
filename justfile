# The recipes of Comptoir. `just` alone lists them.

target := "wasm32-wasip2"

# The manifest for `just run` and `just dev`. To use another one: `just manifest=shop.toml dev`.
manifest := env("COMPTOIR_MANIFEST", "host/comptoir.toml")

# The components in the manifest that are built here, as target/wasm32-wasip2/component/NAME.wasm.
components := shell('sed -nE "s|^[^#]*component *= *[^#]*$2/component/([A-Za-z0-9_-]+)[.]wasm.*|\\1|p" "$1" | sort -u | xargs', manifest, target)

# Their packages for cargo. Cargo replaces each - of a package name by _ in file names, so the pattern accepts both.
packages := replace(replace_regex(components, '(\S+)', "-p '$1'"), "_", "[_-]")

# The host's packages for cargo. All recipes use the same ones: with others cargo selects other features and compiles wasmtime again.
host_packages := "--locked --workspace --exclude 'guest-*'"

# The program that `just run` starts, and that the recipes for a running host call.
comptoir := "target/debug/comptoir"

# Settings for quick builds of components: little optimisation, incremental, with the names of functions for backtraces. An edit of a service costs under a second of CPU
# time, of the kit or of wit/ two seconds. The first such build compiles the dependencies once more, which costs 20 seconds.
quickly := "CARGO_PROFILE_COMPONENT_OPT_LEVEL=1 CARGO_PROFILE_COMPONENT_LTO=off CARGO_PROFILE_COMPONENT_CODEGEN_UNITS=16 CARGO_PROFILE_COMPONENT_INCREMENTAL=true CARGO_PROFILE_COMPONENT_STRIP=debuginfo"

# Panic messages of a component contain paths of library sources. This replaces the builder's home folder in them, so that every
# machine builds the same bytes.
export CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS := "--remap-path-prefix=" + trim_end_match(env("CARGO_HOME", home_directory() / ".cargo"), "/") + "=/cargo"

[private]
default:
    @just --list --unsorted

# Build everything and serve the shop on http://127.0.0.1:8000
run *arguments: build
    {{comptoir}} serve --manifest {{quote(manifest)}} --data data {{arguments}}

# Run every test; `just test NAME` runs those whose names contain it
test *filter: components guests
    # The tests spend half of their time waiting, so two run at once for each processor.
    RUST_TEST_THREADS=$((2 * {{num_cpus()}})) cargo test {{host_packages}} -- {{filter}}

# Run the tests on a temporary PostgreSQL server. Needs PostgreSQL's programs (Debian: apt-get install postgresql)
test-postgres *filter: components guests
    #!/usr/bin/env bash
    set -euo pipefail
    # Debian does not put the server's programs into PATH.
    PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
    command -v initdb >/dev/null || { echo "initdb is missing: install PostgreSQL 14 or newer" >&2; exit 1; }
    folder=$(mktemp -d)
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "$password" > "$folder/password"
    # A certificate authority, and a server certificate that it signs.
    new_key=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    "${new_key[@]}" -x509 -days 2 -subj /CN=authority -keyout "$folder/ca.key" -out "$folder/ca.pem" 2>/dev/null
    "${new_key[@]}" -subj /CN=server -keyout "$folder/server.key" -out "$folder/server.csr" 2>/dev/null
    openssl x509 -req -days 2 -in "$folder/server.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
        -extfile <(echo subjectAltName=IP:127.0.0.1) -out "$folder/server.pem" 2>/dev/null
    # Only the server's user may read the keys. The tests read the other files.
    chmod 600 "$folder"/*.key
    # PostgreSQL refuses to run as root.
    as=(env "PATH=$PATH")
    if [ "$(id -u)" = 0 ]; then
        as=(runuser -u postgres -- "${as[@]}")
        chown -R postgres "$folder"
    fi
    in_folder() { (cd "$folder" && "${as[@]}" "$@"); }
    trap 'in_folder pg_ctl -D data -m immediate -s stop || true; rm -rf "$folder"' EXIT
    in_folder initdb -D data -U comptoir --pwfile=password --auth=scram-sha-256 --encoding=UTF8 --locale=C >/dev/null
    # Without fsync, because the data of tests need not survive a crash.
    settings="-c unix_socket_directories=$folder -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off"
    settings+=" -c max_connections=400 -c ssl=on -c ssl_cert_file=$folder/server.pem -c ssl_key_file=$folder/server.key"
    # Tries random ports until one is free.
    tried=0
    until in_folder pg_ctl -D data -s -w -l log start -o "$settings -c port=$((port = 20000 + RANDOM % 12000))"; do
        ((++tried < 5)) || { cat "$folder/log" >&2; exit 1; }
    done
    export COMPTOIR_TEST_POSTGRES="postgres://comptoir:$password@127.0.0.1:$port/postgres"
    export COMPTOIR_TEST_POSTGRES_AUTHORITY="$folder/ca.pem"
    cargo test {{host_packages}} --lib -- --include-ignored postgres:: {{filter}}
    # Skips the examples (`just test-examples` runs them), tests of SQLite files, and tests that fill tables for minutes. Also
    # those of the response cache, which PostgreSQL does not use, and one that changes what only this host recorded.
    about_files="response_cache:: documents:: validators:: backup:: crashes:: million:: examples:: the_data_folder_contains_no_token
        each_installation_has_its_own_key an_answer_to_a_credential_bypasses_the_cache share_cached_answers
        a_backup_contains_every_valid_key a_full_database a_failing_database_does_not a_file_other_than_a_database
        whose_session_ends_while_it_waits_for_the_writer only_new_components_are_checked_for_changed_migrations"
    RUST_TEST_THREADS=$((2 * {{num_cpus()}})) cargo test {{host_packages}} --test all -- \
        --include-ignored $(printf -- '--skip %s ' $about_files) {{filter}}

# Run the property tests with this many random cases each; `just test` runs only a few
fuzz cases="10000": components guests
    PROPTEST_CASES={{cases}} cargo test {{host_packages}} --test all -- properties::

# Check formatting, links and commands of the documents, lints, modules, dependencies, packages and API documentation
check: toolchain
    cargo fmt --all --check
    .ci/documents
    cargo clippy {{host_packages}} --all-targets -- -D warnings
    cargo clippy --locked --profile component --target {{target}} {{packages}} -p 'guest-*' -- -D warnings
    cargo test {{host_packages}} --test all -- architecture::
    cargo package --locked --offline --quiet --no-verify --allow-dirty -p comptoir-kit-macros -p comptoir-kit -p comptoir-storage -p comptoir
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps -p comptoir -p comptoir-storage -p comptoir-kit -p comptoir-kit-macros {{packages}}

# Write the OpenAPI documents of the components from their route tables: components/NAME/openapi.json
openapi:
    UPDATE_OPENAPI=1 cargo test --locked -p auth -p user -p orders -p front --lib the_openapi_document_is_current

# Print 72 random comments and messages with file and line, to judge whether they read well. The same seed prints the same ones
prose-sample seed:
    @.ci/prose-sample {{seed}}

# Check licences and sources of all dependencies. The first run installs cargo-deny, which takes some minutes
deny:
    @command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
    cargo deny --workspace --locked --config .ci/deny.toml check bans licenses sources

# Check all dependencies for known vulnerabilities. Fetches the RustSec database from its git repository
advisories:
    @command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
    cargo deny --workspace --locked --config .ci/deny.toml check advisories

# Build the components and the host for development: target/debug/comptoir
build: components host

[private]
host:
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

# Build the same files quickly, with less optimisation. `comptoir dev` runs this
[private]
quick-components: toolchain
    {{quickly}} cargo build --locked --profile component --target {{target}} {{packages}}

# Build the committed components twice, in different folders and with different cargo homes, and check that the bytes are equal
reproduce: toolchain
    #!/usr/bin/env bash
    set -euo pipefail
    # The user's own settings would change the bytes.
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

# Test the pages of console and shop in Debian's chromium, wide and narrow, light and dark, with keyboard and axe. Needs node with npm
test-browser: build browser
    cd host/tests/browser && node console.mjs && node shop.mjs

# Check the OpenAPI documents of the gateway and the admin API with redocly and openapi-spec-validator. Needs node with npm, and python3
test-api: components guests
    host/tests/api/install
    cargo test {{host_packages}} --test all -- --ignored openapi::validators::

# Write pictures of the pages: host/docs/console-*.png, host/docs/shop-*.png
screenshots: build browser
    cd host/tests/browser && node console.mjs --screenshots {{quote(justfile_directory())}}/host/docs
    cd host/tests/browser && node shop.mjs --screenshots {{quote(justfile_directory())}}/host/docs

[private]
browser:
    [ -x /usr/bin/chromium ] || (apt-get update && apt-get install --yes --no-install-recommends chromium)
    cd host/tests/browser && npm ci --no-fund --no-audit

# Build the services in other languages: target/examples/*.wasm. Needs node with npm, and python3
examples:
    components/examples/build

# Test the kits for other languages, then serve the services in other languages and check their answers
test-examples: examples
    components/examples/test
    cargo test {{host_packages}} --test all -- --ignored --test-threads 1 --skip costs examples:: tutorial::

# Print what the services in other languages cost in time and memory
measure-examples: examples
    cargo test {{host_packages}} --test all -- --ignored --nocapture examples::what_each_language_costs

# Build and serve the shop; build and deploy the components again whenever a source changes
dev *arguments: toolchain host
    {{comptoir}} dev --manifest {{quote(manifest)}} --data data {{arguments}}

# Build one component and deploy it to the running host
upgrade service *arguments: toolchain
    {{quickly}} cargo build --locked --quiet --profile component --target {{target}} -p {{service}}
    {{comptoir}} deploy {{service}} target/{{target}}/component/{{service}}.wasm {{arguments}}

# Roll back to the previous revision, at once
rollback service *arguments:
    {{comptoir}} rollback {{service}} {{arguments}}

# Show the running canary, or change its share; `just upgrade orders --canary 5%` starts one
canary *arguments:
    {{comptoir}} canary {{arguments}}

# Promote the canary: send it all traffic
promote *arguments:
    {{comptoir}} promote {{arguments}}

# Abort the canary: the active revisions answer all callers again
abort *arguments:
    {{comptoir}} abort {{arguments}}

# List the deploys, rollbacks and reverts of a service
history service *arguments:
    {{comptoir}} history {{service}} {{arguments}}

# Show the active revision of each service and its traffic
status *arguments:
    {{comptoir}} status {{arguments}}

# Swap a component under load, 1,000 times by default, reload the manifest 100 times, and print lost requests and delays
swap-lab *arguments: components
    .ci/measured swap-lab {{arguments}} -- cargo bench {{host_packages}} --bench swap_lab --

# Time refused logins of each kind, 300 by default, and print whether the time reveals which accounts exist
timing-lab *arguments: components
    .ci/measured timing-lab {{arguments}} -- cargo bench {{host_packages}} --bench timing_lab --

# Compare the host with a native server, about five minutes. `just bench --help` lists parts and options
bench *arguments: components guests
    .ci/measured bench {{arguments}} -- cargo bench {{host_packages}} --bench bench --

# Measure the parts of a request within one process; `just bench-micro NAME` runs those whose names contain it
bench-micro *filter: components guests
    cargo bench {{host_packages}} --bench micro -- {{filter}}

# Run every benchmark once, briefly, to check that it works
bench-once: components guests
    cargo test {{host_packages}} --bench bench --bench micro

# Install wasmtime's own server, so that `just bench` measures it too. Takes some minutes
bench-tools:
    cargo install --locked wasmtime-cli --version 48.0.8 --no-default-features --features run,serve,cranelift,pooling-allocator,parallel-compilation,component-model-async,threads

# Kill a serving host 200 times by default, simulate power cuts and full disks, and print whether acknowledged writes survived
crash-lab *arguments: components
    .ci/measured crash-lab {{arguments}} -- cargo bench {{host_packages}} --bench crash_lab --

# Run the attacks of hostile components beside load on another service, and print their effect on it and on the host's memory
hostile-lab *arguments: components guests
    .ci/measured hostile-lab {{arguments}} -- cargo bench {{host_packages}} --bench hostile_lab --

# Fill each table that clients can fill with a million rows and use the shop with its default limits. Takes a few minutes
rows-lab: components
    cargo test {{host_packages}} --test all -- --ignored --test-threads 1 million::

# Delete the shop's databases, keys and compiled artifacts
clean-data:
    rm -rf data

# Installs the compiler's target for components, which Cargo.toml cannot declare
[private]
toolchain:
    @rustup target list --installed | grep -qx {{target}} || rustup target add {{target}}
