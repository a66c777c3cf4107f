#!/usr/bin/env bash
# Builds the VM image in target/image, if it is not there, damaged, or made of anything but the present sources.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=$(realpath -m -- "${CARGO_TARGET_DIR:-$repo/target}")
image=$target/image
# As old as the beginning of the build, so that what is edited while it runs counts as newer.
stamp=$target/image.stamp

is_current() {
    local file newer
    [[ -f $stamp ]] || return
    for file in vmlinuz initramfs manifest.json SHA256SUMS; do
        [[ -f $image/$file ]] || return
    done
    (cd "$image" && sha256sum --check --quiet --status SHA256SUMS) || return
    # `image/build --service-binary` puts other services into it.
    grep -qF '"service": "rng-service"' "$image/manifest.json" || return
    newer=$(cd "$repo" && find Cargo.toml Cargo.lock rust-toolchain.toml image lb program-log rng-service wire \
        -newer "$stamp" -print -quit)
    [[ -z $newer ]]
}

if is_current; then
    echo "== the VM image is current: $image"
    exit
fi
echo "== building the VM image"
mkdir -p "$target"
rm -f "$stamp"
touch "$stamp.new"
"$repo/image/build" --out "$image"
mv -f "$stamp.new" "$stamp"
