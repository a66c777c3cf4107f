//! What a VM is told about itself.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng;
use toml::{Table, Value};
use wire::{Identity, Role, Vm};

use crate::config::Config;
use crate::identity::{Purpose, Secret};
use crate::net::bridge_mac;

/// Where a load balancer keeps its upstream set: it survives the program, not the VM.
const LB_STATE_FILE: &str = "/var/lib/phalanx/upstreams.json";

/// The identity of `vm` in its life `incarnation`, with the time and the randomness of this moment.
pub(super) fn of(config: &Config, secret: &Secret, vm: &Vm, incarnation: u64) -> Identity {
    let gateway = config.pool().map_or(vm.addr, |pool| pool.host());
    let mut seed = [0_u8; 64];
    rand::rng().fill_bytes(&mut seed);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Identity {
        id: vm.id.clone(),
        role: vm.role,
        incarnation,
        hostname: vm.id.replace('/', "-"),
        addr: vm.addr,
        gateway,
        gateway_mac: Some(bridge_mac(gateway).to_string()),
        vip: config.vip.as_ref().filter(|_| vm.role == Role::Lb).map(|vip| vip.addr),
        config: program_config(config, secret, vm.role, gateway).to_string(),
        // So that a service can keep a place for its manager, however many clients it has.
        env: BTreeMap::from([("PHALANX_GATEWAY".to_owned(), gateway.to_string())]),
        unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        seed: base16ct::lower::encode_string(&seed),
    }
}

/// What the manager needs of a program's configuration, under what the administrator added.
fn program_config(config: &Config, secret: &Secret, role: Role, gateway: std::net::Ipv4Addr) -> Table {
    let listen = |port: u16| Value::String(format!("0.0.0.0:{port}"));
    let (mut table, added) = match role {
        Role::Service => {
            (Table::from_iter([("listen".to_owned(), listen(config.service.port))]), &config.service.config)
        }
        Role::Lb => {
            let token = secret.token(Purpose::LbAdmin { node: &config.node });
            let admin = Table::from_iter([
                ("listen".to_owned(), listen(config.lb.admin_port)),
                ("token".to_owned(), Value::String(token.reveal().to_owned())),
                ("allow".to_owned(), Value::Array(vec![Value::String(format!("{gateway}/32"))])),
            ]);
            let table = Table::from_iter([
                ("listen".to_owned(), listen(config.lb.port)),
                ("state_file".to_owned(), Value::String(LB_STATE_FILE.to_owned())),
                ("admin".to_owned(), Value::Table(admin)),
            ]);
            (table, &config.lb.config)
        }
    };
    merge(&mut table, added);
    table
}

/// Adds `more` to `table`, table by table; what stands in both is `more`'s.
fn merge(table: &mut Table, more: &Table) {
    for (key, value) in more {
        match (table.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(more)) => merge(inner, more),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn an_administrators_keys_win_and_the_others_stay() {
        let mut table = "listen = 1\n[admin]\ntoken = 'a'\nallow = []".parse().unwrap();
        merge(&mut table, &"listen = 2\nnew = 3\n[admin]\nallow = ['x']\n[retry]\nmax = 1".parse().unwrap());
        let expected: toml::Table =
            "listen = 2\nnew = 3\n[admin]\ntoken = 'a'\nallow = ['x']\n[retry]\nmax = 1".parse().unwrap();
        assert_eq!(table, expected);
    }
}
