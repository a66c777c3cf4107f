#!/usr/bin/env bash
# Installs the Debian packages that `bench upstream-loss`, `proxy`, `churn` and `failover-vip` need and that are missing.
# They are for comparisons only: the demonstration and the tests do without. As root, or with sudo.
set -euo pipefail

# What each is for:
packages=(
    haproxy      # compared with
    iproute2     # namespaces and links
    keepalived   # compared with
    nginx-light  # compared with, and the light upstream of `bench proxy`
    util-linux   # setpriv, taskset
    wrk          # load of `bench proxy`
)

missing=()
for package in "${packages[@]}"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
done
# Another flavour of nginx serves as well.
if command -v nginx >/dev/null || [[ -x /usr/sbin/nginx ]]; then
    for place in "${!missing[@]}"; do
        [[ ${missing[place]} != nginx-light ]] || unset "missing[place]"
    done
fi
((${#missing[@]} > 0)) || exit 0

as_root=()
if ((EUID != 0)); then
    as_root=(sudo)
fi
as_root+=(env DEBIAN_FRONTEND=noninteractive)
echo "installing Debian packages: ${missing[*]}"
"${as_root[@]}" apt-get -qq update </dev/null
"${as_root[@]}" apt-get -qq install -y --no-install-recommends "${missing[@]}" </dev/null

# Debian starts what it installs; on the ports of this machine they only stand in the way.
for service in haproxy keepalived nginx; do
    if [[ " ${missing[*]} " == *" $service"* ]] && command -v systemctl >/dev/null; then
        "${as_root[@]}" systemctl disable --now "$service" || true
    fi
done
