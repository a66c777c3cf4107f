//! Tables for people.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Table};
use wire::{ClusterView, NodeScaled, PeerView, Scaled, VipStatus, Vm};

/// VMs, one a line.
pub(super) fn vms(vms: &[Vm]) -> String {
    let mut table = table(&["VM", "ROLE", "ADDRESS", "STATE", "INCARNATION", "QEMU", "LAST ERROR"]);
    for vm in vms {
        table.add_row([
            vm.id.clone(),
            vm.role.as_str().to_owned(),
            vm.addr.to_string(),
            vm.state.as_str().to_owned(),
            vm.incarnation.to_string(),
            vm.qemu_pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            vm.last_error.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    text(&table)
}

/// What each node has from now on.
pub(super) fn scaled(scaled: &Scaled) -> String {
    let mut table = table(&["NODE", "BEFORE", "NOW", "MANAGER"]);
    for NodeScaled { node, from, to, silent } in &scaled.nodes {
        let manager = silent.as_ref().map_or_else(|| "answers".to_owned(), |why| format!("silent: {why}"));
        table.add_row([node.clone(), from.to_string(), to.to_string(), manager]);
    }
    let many = if scaled.replicas == 1 { "service VM" } else { "service VMs" };
    format!("{} {many}\n\n{}", scaled.replicas, text(&table))
}

/// The public address, by one node.
pub(super) fn vip(status: &VipStatus) -> String {
    let VipStatus { addr, node, state, ballot, owner, reason, .. } = status;
    let owner = owner.as_deref().unwrap_or("nobody");
    let epoch = ballot.as_ref().map_or(0, |ballot| ballot.epoch);
    let mut head = format!(
        "public address {addr}   owned by {owner} (epoch {epoch})   {node} is {}: {reason}",
        state.as_str()
    );
    if let Some(why) = &status.ineligible {
        head.push_str(&format!("\n{node} would not take it now: {why}"));
    }
    let mut peers = table(&["PEER", "HEARD", "STATE", "LOAD BALANCER", "WOULD TAKE IT"]);
    for peer in &status.peers {
        let heard = peer.heard_ms_ago.map_or_else(|| "never".to_owned(), ago);
        let report = peer.report.as_ref();
        let yes = |value: fn(&wire::VipReport) -> bool| match report.map(value) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        peers.add_row([
            peer.node.as_str(),
            &heard,
            report.map_or("-", |report| report.state.as_str()),
            report.map_or("-", |report| if report.lb_healthy { "healthy" } else { "not healthy" }),
            yes(|report| report.eligible),
        ]);
    }
    format!("{head}\n\n{}", text(&peers))
}

fn ago(ms: u64) -> String {
    format!("{}.{:03} s ago", ms / 1_000, ms % 1_000)
}

/// A node, its VMs and what it knows of its peers.
pub(super) fn cluster(view: &ClusterView) -> String {
    let lb = view.lb.map_or_else(|| "not ready".to_owned(), |lb| format!("http://{lb}"));
    let head = format!(
        "node {}   vms run under {}   load balancer {lb} (upstream generation {})",
        view.node, view.accel, view.lb_generation
    );
    let mut peers = table(&["PEER", "API", "HEARD", "LOAD BALANCER", "SERVICES"]);
    for peer in &view.peers {
        peers.add_row(row(peer));
    }
    let public = view.vip.as_ref().map_or_else(String::new, |status| format!("\n\n{}", vip(status)));
    format!("{head}\n\n{}\n\n{}{public}", vms(&view.vms), text(&peers))
}

fn row(peer: &PeerView) -> [String; 5] {
    let services: Vec<_> = peer.services.iter().map(|service| service.id.as_str()).collect();
    [
        peer.node.clone(),
        peer.api.to_string(),
        peer.heard_ms_ago.map_or_else(|| "never".to_owned(), ago),
        peer.lb.map_or_else(|| "-".to_owned(), |lb| lb.to_string()),
        if services.is_empty() { "-".to_owned() } else { services.join(" ") },
    ]
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(head.iter().map(Cell::new));
    table
}

fn text(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use wire::{NodeScaled, Scaled};

    #[test]
    fn what_each_node_has_is_a_line_each() {
        let part = |node: &str, from, to, silent: Option<&str>| NodeScaled {
            node: node.to_owned(),
            from,
            to,
            silent: silent.map(str::to_owned),
        };
        let nodes = vec![part("host1", 1, 3, None), part("host2", 2, 2, Some("no route"))];
        let text = super::scaled(&Scaled { replicas: 5, nodes });
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines,
            [
                &["5", "service", "VMs"][..],
                &[],
                &["NODE", "BEFORE", "NOW", "MANAGER"],
                &["host1", "1", "3", "answers"],
                &["host2", "2", "2", "silent:", "no", "route"],
            ]
        );
    }
}
