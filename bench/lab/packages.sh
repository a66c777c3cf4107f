#!/usr/bin/env bash
# Installs the Debian packages that building and running Phalanx needs and that are missing. Nothing is done, and
# the network is not used, when all are there. Sourced or run; as root, or with sudo.
set -euo pipefail

# What each is for:
phalanx_packages=(
    build-essential        # linker and C compiler, for the C parts of Rust crates
    ca-certificates        # fetching crates and Alpine's files
    cmake                  # zlib-ng, a dependency of the load balancer's proxy
    cpio                   # unpacking Alpine's initrd
    curl                   # Alpine's netboot files, and trying things by hand
    e2fsprogs              # reading Alpine's disk image
    git                    # finding the scripts to check
    iproute2               # namespaces and links of the demonstration cluster
    libvirt-clients        # virsh, to look at VMs by hand
    libvirt-daemon-system  # libvirtd, with its configuration
    libvirt-dev            # headers for the manager
    lz4                    # packing the VM image
    nftables               # connections survive a planned move of the public address
    pkg-config             # finding libvirt
    python3-pip            # the default source of Alpine's files
    qemu-system-x86        # the VMs
    shellcheck             # checks of the scripts
)

is_installed() {
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

install_packages() {
    local missing=() package as_root=()
    if ! command -v dpkg-query >/dev/null; then
        echo "note: this is neither Debian nor Ubuntu; these packages are expected: ${phalanx_packages[*]}" >&2
        return 0
    fi
    for package in "${phalanx_packages[@]}"; do
        is_installed "$package" || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        return 0
    fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "error: these Debian packages are missing: ${missing[*]}; install them as root" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    echo "installing Debian packages: ${missing[*]}"
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    # Another apt may be at work, such as the daily upgrade of a fresh machine.
    local apt=("${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update </dev/null
    "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null
}

install_packages
