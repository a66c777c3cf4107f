//! `HAProxy`: as it comes, tuned for the loss of an upstream, or for many requests.

use std::fmt::Write as _;

use super::{CONNECTIONS, Manner, Site};

/// Debian's own time-outs; there are no built-in ones.
const DEFAULT: &str = "    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n";

const TUNED: &str = "    timeout connect 500ms\n    timeout client 50s\n    timeout server 1s\n    retries 3\n    \
                     option redispatch 1\n    retry-on conn-failure empty-response response-timeout\n    \
                     option httpchk GET /healthz\n";

const TUNED_SERVER: &str =
    "    default-server check inter 500ms observe layer4 error-limit 1 on-error mark-down";

/// What becomes of requests under way to a server that is marked down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// They are ended (`on-marked-down shutdown-sessions`), which their clients see.
    Shut,
    /// They go on, until a time-out lets them be sent again.
    Kept,
}

/// A reverse proxy's configuration. Only where it is tuned are servers ever marked down.
pub fn config(manner: Manner, sessions: Sessions, site: &Site) -> String {
    let Site { listen, threads, upstreams, .. } = site;
    let mut text = format!(
        "global\n    nbthread {threads}\n    maxconn {CONNECTIONS}\n\ndefaults\n    mode http\n    balance roundrobin\n"
    );
    text.push_str(match manner {
        Manner::Default => DEFAULT,
        Manner::Tuned => TUNED,
        Manner::Load => {
            "    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n    http-reuse always\n"
        }
    });
    let _ = write!(
        text,
        "\nfrontend traffic\n    bind {listen}\n    default_backend service\n\nbackend service\n"
    );
    if manner == Manner::Tuned {
        text.push_str(TUNED_SERVER);
        text.push_str(if sessions == Sessions::Shut { " on-marked-down shutdown-sessions\n" } else { "\n" });
    }
    for (place, upstream) in upstreams.iter().enumerate() {
        let _ = writeln!(text, "    server up-{place} {upstream}");
    }
    text
}
