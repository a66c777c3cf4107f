//! The configuration files and scripts of one host of the yardstick. Pure.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use super::Pace;

use crate::balancer::haproxy::{self, Sessions};
use crate::balancer::{Manner, Site};

#[cfg(test)]
mod tests;

/// File names, in the host's directory.
pub(super) const HAPROXY: &str = "haproxy.cfg";
/// keepalived's configuration.
pub(super) const KEEPALIVED: &str = "keepalived.conf";
/// The check of the load balancer.
pub(super) const CHECK: &str = "check";
/// Runs the check all the time, for those who want it more often than keepalived can.
pub(super) const LOOP: &str = "loop";
/// What the loop found: 0, or what puts keepalived into its state of fault.
pub(super) const FOUND: &str = "found";
/// What the administrator wants: 0, or what puts keepalived into its state of fault.
pub(super) const HAND: &str = "hand";
/// Notes keepalived's state.
pub(super) const NOTIFY: &str = "notify";
/// keepalived's state, in its own word.
pub(super) const STATE: &str = "state";

/// Asks HAProxy itself, whatever becomes of the services behind it. Fails also when no answer comes.
pub(super) const CHECK_SCRIPT: &str = "\
#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/80 || exit 1
printf 'GET /alive HTTP/1.0\\r\\n\\r\\n' >&3
read -r -t 0.5 line <&3 && [[ $line == *' 200 '* ]]
";

/// The reverse proxy of `upstream-loss`, tuned, which also answers for itself.
pub(super) fn haproxy(site: &Site) -> String {
    let text = haproxy::config(Manner::Tuned, Sessions::Shut, site);
    text.replacen("    default_backend", "    monitor-uri /alive\n    default_backend", 1)
}

/// Writes down what a change of state is announced with: type, name, state, priority.
pub(super) fn notify_script(dir: &Path) -> String {
    let state = dir.join(STATE);
    format!("#!/bin/sh\necho \"$3\" > '{0}.new' && mv '{0}.new' '{0}'\n", state.display())
}

/// Checks every 200 ms, and writes when the result changes.
pub(super) fn loop_script(dir: &Path) -> String {
    let (check, found) = (dir.join(CHECK), dir.join(FOUND));
    format!(
        "#!/bin/bash\nlast=0\nwhile sleep 0.2; do\n    if '{}' 2>/dev/null; then now=0; else now=-254; fi\n    \
         [[ $now == \"$last\" ]] || echo \"$now\" > '{}'\n    last=$now\ndone\n",
        check.display(),
        found.display()
    )
}

/// keepalived's configuration of the host at `place`, 0 or 1.
pub(super) fn keepalived(pace: Pace, place: usize, vip: Ipv4Addr, dir: &Path) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    let mut text = format!(
        "global_defs {{\n    router_id host{number}\n    script_user root\n    enable_script_security\n}}\n",
        number = place + 1
    );
    let mut track_file = |name: &str| {
        let _ = write!(
            text,
            "track_file {name} {{\n    file \"{}\"\n    weight 1\n    init_file 0 overwrite\n}}\n",
            file(name)
        );
    };
    track_file(HAND);
    let (advert, tracked) = match pace {
        Pace::Second => {
            let _ = write!(
                text,
                "vrrp_script check {{\n    script \"{}\"\n    interval 1\n    timeout 1\n    rise 1\n    fall 1\n}}\n",
                file(CHECK)
            );
            (
                "1",
                format!(
                    "    track_file {{\n        {HAND}\n    }}\n    track_script {{\n        check\n    }}\n"
                ),
            )
        }
        Pace::Tenth => {
            track_file(FOUND);
            ("0.1", format!("    track_file {{\n        {HAND}\n        {FOUND}\n    }}\n"))
        }
    };
    let _ = write!(
        text,
        "vrrp_instance vip {{\n    state BACKUP\n    nopreempt\n    interface eth0\n    version 3\n    \
         virtual_router_id 51\n    priority {priority}\n    advert_int {advert}\n    virtual_ipaddress {{\n        \
         {vip}/32\n    }}\n{tracked}    notify \"{notify}\"\n}}\n",
        priority = 100 - 10 * place,
        notify = file(NOTIFY)
    );
    text
}
