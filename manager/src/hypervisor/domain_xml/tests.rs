use std::path::PathBuf;

use super::*;

struct Owned {
    meta: DomainMeta,
    kernel: PathBuf,
    bridge: String,
}

fn owned() -> Owned {
    let meta = DomainMeta {
        node: "host1".into(),
        id: "host1/svc-11".into(),
        role: Role::Service,
        addr: Ipv4Addr::new(10, 77, 11, 11),
        incarnation: 3,
    };
    Owned { meta, kernel: "/boot/vmlinuz".into(), bridge: "phx0".into() }
}

impl Owned {
    fn describe(&self, accel: Accel, machine: Machine) -> String {
        let description = Description {
            accel,
            machine,
            name: "host1-svc-11-3",
            uuid: "5f0c3a52-0000-4000-8000-0123456789ab",
            meta: &self.meta,
            mac: crate::net::vm_mac(self.meta.addr, self.meta.incarnation),
            memory_mib: 192,
            vcpus: 1,
            kernel: &self.kernel,
            initramfs: Path::new("/boot/initramfs"),
            tsc_khz: Some(2_596_134),
            bridge: &self.bridge,
            socket: Path::new("/run/phalanx/a.sock"),
            console: Path::new("/run/phalanx/a.console"),
        };
        description.to_xml().unwrap()
    }
}

#[test]
fn a_microvm_under_tcg_is_described_like_this() {
    let expected = r#"<domain type="qemu">
  <name>host1-svc-11-3</name>
  <uuid>5f0c3a52-0000-4000-8000-0123456789ab</uuid>
  <metadata>
    <phalanx:vm xmlns:phalanx="urn:phalanx:vm:1" node="host1" id="host1/svc-11" role="service" addr="10.77.11.11" incarnation="3"/>
  </metadata>
  <memory unit="MiB">192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="microvm">hvm</type>
    <kernel>/boot/vmlinuz</kernel>
    <initrd>/boot/initramfs</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=2596134</cmdline>
  </os>
  <features>
    <acpi/>
    <tcg>
      <tb-cache unit="MiB">128</tb-cache>
    </tcg>
  </features>
  <cpu mode="maximum"/>
  <clock offset="utc"/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type="usb" model="none"/>
    <controller type="virtio-serial" index="0">
      <address type="virtio-mmio"/>
    </controller>
    <channel type="unix">
      <source mode="bind" path="/run/phalanx/a.sock"/>
      <target type="virtio" name="org.phalanx.guest.0"/>
    </channel>
    <interface type="bridge">
      <mac address="02:03:0a:4d:0b:0b"/>
      <source bridge="phx0"/>
      <model type="virtio"/>
      <address type="virtio-mmio"/>
    </interface>
    <serial type="file">
      <source path="/run/phalanx/a.console" append="on"/>
    </serial>
    <memballoon model="none"/>
  </devices>
</domain>"#;
    assert_eq!(owned().describe(Accel::Tcg, Machine::Microvm), expected);
}

#[test]
fn kvm_and_q35_differ_where_they_must() {
    let xml = owned().describe(Accel::Kvm, Machine::Q35);
    for part in [
        r#"<domain type="kvm">"#,
        r#"mode="host-passthrough""#,
        r#"machine="q35""#,
        "panic=-1 reboot=t</cmdline>",
    ] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
    for part in ["virtio-mmio", "tsc_early_khz", "tb-cache"] {
        assert!(!xml.contains(part), "no {part} in {xml}");
    }
}

#[test]
fn strings_are_escaped_and_metadata_comes_back_as_it_was() {
    let mut owned = owned();
    let nasty = r#"a'b"c<d>&amp;&e"#;
    owned.meta.node = nasty.into();
    owned.meta.id = format!("{nasty}/ü");
    owned.meta.role = Role::Lb;
    owned.meta.incarnation = u64::MAX;
    owned.kernel = format!("/{nasty}").into();
    owned.bridge = "x'/><evil".into();
    let xml = owned.describe(Accel::Tcg, Machine::Microvm);
    assert!(!xml.contains("<evil") && !xml.contains("<d>"), "{xml}");
    assert_eq!(parse_meta(&xml), Ok(Some(owned.meta)));
}

#[test]
fn other_softwares_domains_are_not_ours() {
    for xml in [
        "",
        "<domain/>",
        "<domain type='lxc'><name>x</name><description>a &lt; b</description></domain>",
        "<domain><metadata><a:vm xmlns:a='urn:other'><b/></a:vm></metadata></domain>",
        "<domain><metadata><vm node='host1'/></metadata></domain>",
        "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:commandline/></domain>",
        // Ours, but not where we put it: somebody quotes us.
        "<domain><metadata><a:x xmlns:a='urn:other'><p:vm xmlns:p='urn:phalanx:vm:1'/></a:x></metadata></domain>",
        "<domain><devices><p:vm xmlns:p='urn:phalanx:vm:1'/></devices></domain>",
        "<!-- c --><?pi?><domain><metadata><![CDATA[<p:vm/>]]></metadata></domain>",
    ] {
        assert_eq!(parse_meta(xml), Ok(None), "{xml}");
    }
}

#[test]
fn our_element_is_found_behind_any_prefix_and_beside_others() {
    let xml = "<domain type='qemu' id='7'><name>n</name><metadata><o:x xmlns:o='urn:other'><o:y/></o:x>\
        <vm xmlns='urn:phalanx:vm:1' incarnation='2' addr='10.0.0.2' role='lb' id='h/lb' node='h' new='1'>\
        <more/></vm></metadata></domain>";
    let meta = parse_meta(xml).unwrap().unwrap();
    assert_eq!((meta.id.as_str(), meta.role, meta.incarnation), ("h/lb", Role::Lb, 2));
}

#[test]
fn what_cannot_be_understood_is_named() {
    let ours = |attributes: &str| {
        format!("<domain><metadata><p:vm xmlns:p='urn:phalanx:vm:1' {attributes}/></metadata></domain>")
    };
    for (attributes, part) in [
        ("", "role is missing"),
        ("role='lb' addr='10.0.0.2' incarnation='1' node='h'", "id is missing"),
        ("role='king' addr='10.0.0.2' incarnation='1' node='h' id='i'", "role=\"king\""),
        ("role='lb' addr='10.0.0' incarnation='1' node='h' id='i'", "addr=\"10.0.0\""),
        ("role='lb' addr='10.0.0.2' incarnation='-1' node='h' id='i'", "incarnation=\"-1\""),
    ] {
        let error = parse_meta(&ours(attributes)).unwrap_err();
        assert!(error.contains(part), "{error:?} should say {part:?}");
    }
    assert!(parse_meta("<domain><metadata></domain>").is_err());
}
