# The verbs of the project. `./ci/test` and `cargo run --release -- demo` need no `just`.

# Format, lints, dependencies
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    cargo deny check

# Everything that a change must pass
test:
    ./ci/test

# What becomes of one case, and by which rule: just case ADT_A01/admit
case name:
    cargo run --quiet -p mappings -- --maps mappings/maps --explain mappings/cases/{{name}}.hl7

# The first minute
demo *arguments:
    cargo run --release -- demo {{arguments}}

# Contracts: artifact, vectors, format, tests, gas; `just contracts --update` writes them anew
contracts *arguments:
    notary/contracts/ci.sh {{arguments}}

# Messages, resources and receipts a second
bench:
    cargo bench --workspace

# Kill the service while it takes messages
crash kills="50":
    MEDSEAL_KILLS={{kills}} cargo test --release -p bridge --test it crash -- --nocapture

# Cut the power at so many moments
power cuts="200":
    MEDSEAL_POWER_CUTS={{cuts}} cargo test --release -p bridge --test it power -- --nocapture

# Kill, pause and cut off replicas at work
chaos rounds="50":
    MEDSEAL_CHAOS={{rounds}} cargo test --release -p bridge --test it chaos:: -- --nocapture

# Format everything
fmt:
    cargo fmt --all

# The documentation of the code
docs:
    cargo doc --workspace --no-deps --document-private-items

# Hold the laws of the service's own parsers on so many changes of each seed (bridge/tests/it/mutations.rs)
mutate changes="100000":
    MEDSEAL_MUTATIONS={{changes}} cargo test --release -p bridge --test it mutations::

# Fuzz one target for some seconds: just fuzz map_message 3600 (fuzz/README.md)
fuzz target seconds="600":
    mkdir -p fuzz/corpus/{{target}}
    cargo fuzz run -s none {{target}} fuzz/corpus/{{target}} fuzz/seeds mappings/cases notary/vectors -- \
        -dict=fuzz/hl7.dict -max_len=8192 -max_total_time={{seconds}}
