#!/bin/sh
# A PostgreSQL of its own for tests: serve.sh BINARIES DIRECTORY. Prints `ready` when it answers on a socket in the directory.
# Reads `stop`, `kill` and `start` from standard input; when that ends, so does the server, and the directory goes.
set -u
bin=$1 dir=$2
run=
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root.
    chown postgres "$dir"
    run="setpriv --reuid postgres --regid postgres --init-groups --"
fi
cd "$dir" || exit 1
$run "$bin/initdb" -D "$dir/data" -U medseal -A trust -E UTF8 --locale=C >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
start() {
    $run "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=400 -c fsync=on \
        -c shared_buffers=64MB >>"$dir/log" 2>&1 </dev/null &
    pid=$!
    n=0
    until "$bin/pg_isready" -q -h "$dir" -U medseal; do
        n=$((n + 1))
        [ $n -gt 600 ] && { cat "$dir/log" >&2; exit 1; }
        sleep 0.1
    done
    echo ready
}
end() { kill "-$1" "$pid"; wait "$pid"; }
start
while read -r word; do
    case $word in
    stop) end INT; echo stopped ;;
    kill) end QUIT; echo stopped ;;
    start) start ;;
    esac
done
end QUIT
rm -rf "$dir"
