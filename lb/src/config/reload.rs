//! What a new configuration changes while the load balancer runs.

use super::Config;

impl Config {
    /// What a running load balancer makes of a newly read file: the file, with the present values of what cannot
    /// change without a restart, and the keys of those that the file would have changed.
    ///
    /// Listeners, threads and open files stay as they are, and so do the sizes of what was laid out when the
    /// process started. The certificates of the same listeners are taken.
    pub fn reloaded(&self, mut new: Self) -> (Self, Vec<&'static str>) {
        let mut kept = Vec::new();
        if tls_listeners(self) != tls_listeners(&new) {
            new.tls.clone_from(&self.tls);
            kept.push("tls.listen");
        }
        let mut keep = |key, changed| {
            if changed {
                kept.push(key);
            }
        };
        keep("listen", replace(&mut new.listen, &self.listen));
        keep("admin", replace(&mut new.admin, &self.admin));
        keep("threads", replace(&mut new.threads, &self.threads));
        keep("state_file", replace(&mut new.state_file, &self.state_file));
        keep("heartbeat", replace(&mut new.heartbeat, &self.heartbeat));
        keep("limits.upstreams", replace(&mut new.limits.upstreams, &self.limits.upstreams));
        keep("limits.connections", replace(&mut new.limits.connections, &self.limits.connections));
        keep("access_log", replace(&mut new.access_log, &self.access_log));
        (new, kept)
    }
}

fn tls_listeners(config: &Config) -> Vec<std::net::SocketAddr> {
    let mut addrs: Vec<_> = config.tls.iter().map(|tls| tls.listen).collect();
    addrs.sort_unstable();
    addrs.dedup();
    addrs
}

/// Puts `present` in place of `new`, and says whether they differ.
fn replace<T: Clone + PartialEq>(new: &mut T, present: &T) -> bool {
    let changed = new != present;
    new.clone_from(present);
    changed
}
