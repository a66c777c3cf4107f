//! Configurations, checked by the programs they are for wherever those are installed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Balancer, Manner, Site, nginx};
use crate::rig::tools::{HAPROXY, NGINX};

const MANNERS: [Manner; 3] = [Manner::Default, Manner::Tuned, Manner::Load];

fn site() -> Site {
    let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Site { listen: addr(8080), admin: addr(9000), threads: 2, upstreams: vec![addr(9001), addr(9002)] }
}

#[test]
fn every_upstream_and_the_listener_are_in_every_configuration() {
    for manner in MANNERS {
        for balancer in [Balancer::Nginx(manner), Balancer::Haproxy(manner)] {
            let config = balancer.config(&site(), Path::new("/nowhere")).unwrap();
            for addr in ["127.0.0.1:8080", "127.0.0.1:9001", "127.0.0.1:9002"] {
                assert!(config.contains(addr), "{}: {config}", balancer.name());
            }
        }
    }
    let config = Balancer::Lb.config(&site(), Path::new("/nowhere")).unwrap();
    assert!(config.contains("listen = [\"127.0.0.1:8080\"]") && config.contains("threads = 2"), "{config}");
}

#[test]
fn names_differ() {
    let all = MANNERS.iter().flat_map(|manner| [Balancer::Nginx(*manner), Balancer::Haproxy(*manner)]);
    let mut names: Vec<_> =
        all.chain([Balancer::Lb, Balancer::Bare, Balancer::HaproxyKeeping]).map(Balancer::name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// nginx itself judges, and `HAProxy`; where they are missing there is nobody to ask, and `bench` says so when run.
#[test]
fn the_programs_accept_their_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let accept = |command: &mut Command| {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{}", std::fs::read_to_string(&file).unwrap());
    };
    for manner in MANNERS {
        if let Some(nginx) = NGINX.find() {
            std::fs::write(&file, Balancer::Nginx(manner).config(&site(), dir.path()).unwrap()).unwrap();
            let invocation = nginx::invocation(nginx, &file, dir.path());
            accept(Command::new(invocation.program).args(invocation.args).arg("-t"));
        }
    }
    let haproxies = MANNERS.map(Balancer::Haproxy).into_iter().chain([Balancer::HaproxyKeeping]);
    for (balancer, haproxy) in haproxies.filter_map(|balancer| Some((balancer, HAPROXY.find()?))) {
        std::fs::write(&file, balancer.config(&site(), dir.path()).unwrap()).unwrap();
        accept(Command::new(haproxy).arg("-c").arg("-f").arg(&file));
    }
    if let Some(nginx) = NGINX.find() {
        std::fs::write(&file, nginx::upstream(&site().upstreams, 2, dir.path())).unwrap();
        let invocation = nginx::invocation(nginx, &file, dir.path());
        accept(Command::new(invocation.program).args(invocation.args).arg("-t"));
    }
}

#[test]
fn only_one_of_the_tuned_haproxies_ends_sessions() {
    let says = |balancer: Balancer| {
        balancer.config(&site(), Path::new("/nowhere")).unwrap().contains("shutdown-sessions\n")
    };
    assert!(says(Balancer::Haproxy(Manner::Tuned)));
    assert!(!says(Balancer::HaproxyKeeping));
}
