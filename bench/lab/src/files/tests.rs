use super::*;

#[test]
fn the_managers_file_names_the_host_and_all_its_peers() {
    let plan = Plan::new("10.77.0.0/16".parse().expect("a network"), 3, 29).expect("a plan");
    let text = manager_toml(&plan, &plan.hosts[1], Path::new("/opt/image")).expect("toml");
    let expected = r#"node = "host2"
secret_file = "/etc/phalanx/secret"
state_dir = "/var/lib/phalanx"
runtime_dir = "/run/phalanx"

[api]
listen = "10.77.0.12:7700"

[network]
interface = "eth0"
bridge = "phx0"
pool = "10.77.12.0/24"

[hypervisor]
uri = "qemu:///system"
accel = "auto"

[image]
kernel = "/opt/image/vmlinuz"
initramfs = "/opt/image/initramfs"

[lb]
port = 80

[cluster]
name = "lab"
gossip_port = 7701

[vip]
addr = "10.77.0.100"

[[peers]]
node = "host1"
api = "10.77.0.11:7700"
pool = "10.77.11.0/24"

[[peers]]
node = "host3"
api = "10.77.0.13:7700"
pool = "10.77.13.0/29"
"#;
    assert_eq!(text, expected);
}

#[test]
fn a_lone_host_has_no_peers() {
    let plan = Plan::new("10.77.0.0/16".parse().expect("a network"), 1, 24).expect("a plan");
    let text = manager_toml(&plan, &plan.hosts[0], Path::new("/opt/image")).expect("toml");
    assert!(text.contains("peers = []"), "{text}");
}

#[test]
fn secrets_are_long_and_differ() {
    let secret = new_secret().expect("random bytes");
    assert_eq!(secret.len(), 64);
    assert_ne!(secret, new_secret().expect("random bytes"));
}
