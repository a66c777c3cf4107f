//! nginx: as it comes, tuned for the loss of an upstream, or for many requests; and as a light upstream.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{CONNECTIONS, KEEPALIVE, Manner, REQUESTS, Site};
use crate::rig::process::Invocation;

/// What `proxy_pass` gets besides itself.
const TUNED: &str = "\
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_connect_timeout 500ms;
            proxy_read_timeout 1s;
            proxy_send_timeout 1s;
            proxy_next_upstream error timeout;
";

const LOAD: &str = "\
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
";

/// A reverse proxy's configuration.
pub fn config(manner: Manner, site: &Site, dir: &Path) -> String {
    let mut text = head(site.threads, dir);
    text.push_str("    upstream service {\n");
    for upstream in &site.upstreams {
        let _ = writeln!(text, "        server {upstream};");
    }
    match manner {
        Manner::Default => {}
        Manner::Tuned => {
            let _ = writeln!(text, "        keepalive {KEEPALIVE};");
        }
        Manner::Load => {
            let _ = writeln!(text, "        keepalive {KEEPALIVE};\n        keepalive_requests {REQUESTS};");
        }
    }
    text.push_str("    }\n    server {\n");
    let _ = writeln!(text, "        listen {} backlog=4096;", site.listen);
    if manner == Manner::Load {
        let _ = writeln!(text, "        keepalive_requests {REQUESTS};");
    }
    text.push_str("        location / {\n            proxy_pass http://service;\n");
    text.push_str(match manner {
        Manner::Default => "",
        Manner::Tuned => TUNED,
        Manner::Load => LOAD,
    });
    text.push_str("        }\n    }\n}\n");
    text
}

/// The configuration of a light upstream: one fixed answer, which satisfies the contract of `/int`.
pub fn upstream(addrs: &[SocketAddr], workers: usize, dir: &Path) -> String {
    let mut text = head(workers, dir);
    text.push_str("    server {\n");
    for addr in addrs {
        let _ = writeln!(text, "        listen {addr} backlog=4096;");
    }
    let _ = write!(
        text,
        "        keepalive_requests {REQUESTS};\n        default_type application/json;\n        location / {{\n            \
         return 200 '{{\"kind\":\"int\",\"value\":7,\"instance\":\"static\"}}';\n        }}\n    }}\n}}\n"
    );
    text
}

/// How to run it in the foreground with a configuration file.
pub fn invocation(program: PathBuf, file: &Path, dir: &Path) -> Invocation {
    let log = dir.join("error.log");
    let args =
        ["-p".as_ref(), dir.as_os_str(), "-c".as_ref(), file.as_os_str(), "-e".as_ref(), log.as_os_str()];
    Invocation::new(program, args)
}

/// What all have in common: everything in `dir`, and no log of requests.
fn head(workers: usize, dir: &Path) -> String {
    let dir = dir.display();
    let mut text = format!(
        "daemon off;\nworker_processes {workers};\nuser root;\npid {dir}/nginx.pid;\n\
         worker_rlimit_nofile {files};\nevents {{\n    worker_connections {CONNECTIONS};\n}}\nhttp {{\n    access_log off;\n",
        files = 2 * CONNECTIONS + 64,
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "    {kind}_temp_path {dir}/{kind};");
    }
    text
}
