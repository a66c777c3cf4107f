//! libvirt's domain XML, as much of it as we need: writing the description of a VM, and finding in any
//! domain's description what we once wrote there.
//!
//! Reading is tolerant: other software's domains are described by XML we know nothing about.

use std::net::Ipv4Addr;
use std::path::Path;

use quick_xml::events::{BytesStart, BytesText, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use quick_xml::{Writer, XmlVersion};
use serde::{Deserialize, Serialize};
use wire::Role;

use super::accel::Accel;
use crate::net::MacAddr;

/// The namespace of our element below `<metadata>`. The number changes when its meaning does.
const NAMESPACE: &str = "urn:phalanx:vm:1";

/// Host memory QEMU may use for translated code, in MiB. Without a limit it takes up to 1 GiB.
const TRANSLATION_CACHE_MIB: u32 = 128;

/// The kind of machine QEMU imitates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// The smallest one, without PCI: boots fastest.
    #[default]
    Microvm,
    /// An ordinary PC.
    Q35,
}

impl Machine {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Microvm => "microvm",
            Self::Q35 => "q35",
        }
    }
}

/// What a domain's metadata says about it. It is all a restarted manager needs to know its VMs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainMeta {
    /// The node whose manager made the domain.
    pub node: String,
    /// The VM's id, `<node>/<name>`.
    pub id: String,
    /// What the VM is for.
    pub role: Role,
    /// The VM's address.
    pub addr: Ipv4Addr,
    /// Which life of the id this is.
    pub incarnation: u64,
}

/// All that is written into a description.
#[derive(Debug, Clone, Copy)]
pub(super) struct Description<'a> {
    pub(super) accel: Accel,
    pub(super) machine: Machine,
    pub(super) name: &'a str,
    pub(super) uuid: &'a str,
    pub(super) meta: &'a DomainMeta,
    pub(super) mac: MacAddr,
    pub(super) memory_mib: u32,
    pub(super) vcpus: u32,
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// The host's time-stamp counter, in kHz; for TCG only.
    pub(super) tsc_khz: Option<u64>,
    pub(super) bridge: &'a str,
    pub(super) socket: &'a Path,
    pub(super) console: &'a Path,
}

impl Description<'_> {
    /// The kernel's command line. A panic reboots at once, and a reboot ends the domain; by a triple fault, because the
    /// EFI call that the kernel would choose leads nowhere on a microvm.
    fn cmdline(&self) -> String {
        let mut line = "console=ttyS0 quiet panic=-1 reboot=t".to_owned();
        if let (Accel::Tcg, Some(khz)) = (self.accel, self.tsc_khz) {
            line += &format!(" tsc_early_khz={khz}");
        }
        line
    }

    /// The description. Its strings may hold any characters but control characters.
    pub(super) fn to_xml(self) -> std::io::Result<String> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        let (kind, cpu) = match self.accel {
            Accel::Kvm => ("kvm", "host-passthrough"),
            Accel::Tcg => ("qemu", "maximum"),
        };
        writer.create_element("domain").with_attribute(("type", kind)).write_inner_content(|w| {
            text(w, "name", self.name)?;
            text(w, "uuid", self.uuid)?;
            w.create_element("metadata").write_inner_content(|w| self.write_meta(w))?;
            w.create_element("memory")
                .with_attribute(("unit", "MiB"))
                .write_text_content(BytesText::new(&self.memory_mib.to_string()))?;
            text(w, "vcpu", &self.vcpus.to_string())?;
            w.create_element("os").write_inner_content(|w| {
                w.create_element("type")
                    .with_attributes([("arch", "x86_64"), ("machine", self.machine.as_str())])
                    .write_text_content(BytesText::new("hvm"))?;
                text(w, "kernel", &self.kernel.to_string_lossy())?;
                text(w, "initrd", &self.initramfs.to_string_lossy())?;
                text(w, "cmdline", &self.cmdline())
            })?;
            w.create_element("features").write_inner_content(|w| self.write_features(w))?;
            w.create_element("cpu").with_attribute(("mode", cpu)).write_empty()?;
            w.create_element("clock").with_attribute(("offset", "utc")).write_empty()?;
            for event in ["on_poweroff", "on_reboot", "on_crash"] {
                text(w, event, "destroy")?;
            }
            w.create_element("devices").write_inner_content(|w| self.write_devices(w))?;
            Ok(())
        })?;
        String::from_utf8(writer.into_inner()).map_err(std::io::Error::other)
    }

    fn write_meta(self, w: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        w.create_element("phalanx:vm")
            .with_attributes([
                ("xmlns:phalanx", NAMESPACE),
                ("node", &self.meta.node),
                ("id", &self.meta.id),
                ("role", self.meta.role.as_str()),
                ("addr", &self.meta.addr.to_string()),
                ("incarnation", &self.meta.incarnation.to_string()),
            ])
            .write_empty()?;
        Ok(())
    }

    fn write_features(self, w: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        // A microvm without ACPI boots two to three times slower.
        w.create_element("acpi").write_empty()?;
        if self.accel == Accel::Tcg {
            w.create_element("tcg").write_inner_content(|w| {
                w.create_element("tb-cache")
                    .with_attribute(("unit", "MiB"))
                    .write_text_content(BytesText::new(&TRANSLATION_CACHE_MIB.to_string()))?;
                Ok(())
            })?;
        }
        Ok(())
    }

    fn write_devices(self, w: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        w.create_element("controller").with_attributes([("type", "usb"), ("model", "none")]).write_empty()?;
        w.create_element("controller")
            .with_attributes([("type", "virtio-serial"), ("index", "0")])
            .write_inner_content(|w| self.write_bus(w))?;
        w.create_element("channel").with_attribute(("type", "unix")).write_inner_content(|w| {
            w.create_element("source")
                .with_attributes([("mode", "bind"), ("path", &self.socket.to_string_lossy())])
                .write_empty()?;
            w.create_element("target")
                .with_attributes([("type", "virtio"), ("name", wire::GUEST_PORT_NAME)])
                .write_empty()?;
            Ok(())
        })?;
        w.create_element("interface").with_attribute(("type", "bridge")).write_inner_content(|w| {
            w.create_element("mac")
                .with_attribute(("address", self.mac.to_string().as_str()))
                .write_empty()?;
            w.create_element("source").with_attribute(("bridge", self.bridge)).write_empty()?;
            w.create_element("model").with_attribute(("type", "virtio")).write_empty()?;
            self.write_bus(w)
        })?;
        w.create_element("serial").with_attribute(("type", "file")).write_inner_content(|w| {
            // Appending, so that the file can be truncated while QEMU writes to it.
            w.create_element("source")
                .with_attributes([("path", &*self.console.to_string_lossy()), ("append", "on")])
                .write_empty()?;
            Ok(())
        })?;
        w.create_element("memballoon").with_attribute(("model", "none")).write_empty()?;
        Ok(())
    }

    /// A microvm has no PCI; elsewhere libvirt finds a PCI address itself.
    fn write_bus(self, w: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        if self.machine == Machine::Microvm {
            w.create_element("address").with_attribute(("type", "virtio-mmio")).write_empty()?;
        }
        Ok(())
    }
}

fn text(w: &mut Writer<Vec<u8>>, name: &str, content: &str) -> std::io::Result<()> {
    w.create_element(name).write_text_content(BytesText::new(content))?;
    Ok(())
}

/// What we wrote into the description of a domain; `Ok(None)` for a domain that is not ours.
///
/// # Errors
/// A sentence, if the XML or our element in it cannot be understood.
pub(super) fn parse_meta(xml: &str) -> Result<Option<DomainMeta>, String> {
    let mut reader = NsReader::from_str(xml);
    let mut path: Vec<String> = Vec::new();
    loop {
        match reader.read_resolved_event().map_err(|e| format!("not XML: {e}"))? {
            (ResolveResult::Bound(Namespace(namespace)), Event::Start(element) | Event::Empty(element))
                if namespace == NAMESPACE
                    && element.local_name().as_ref() == "vm"
                    && path == ["domain", "metadata"] =>
            {
                return meta(&element).map(Some);
            }
            (_, Event::Start(element)) => path.push(element.name().as_ref().to_owned()),
            (_, Event::End(_)) => drop(path.pop()),
            (_, Event::Eof) => return Ok(None),
            _ => {}
        }
    }
}

fn meta(element: &BytesStart<'_>) -> Result<DomainMeta, String> {
    let get = |name: &str| {
        let attribute = element
            .try_get_attribute(name)
            .map_err(|e| format!("{NAMESPACE}: {e}"))?
            .ok_or_else(|| format!("{NAMESPACE}: the attribute {name} is missing"))?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        value.map(std::borrow::Cow::into_owned).map_err(|e| format!("{NAMESPACE}: {name}: {e}"))
    };
    let bad = |name: &str, value: &str| format!("{NAMESPACE}: {name}={value:?} cannot be understood");
    let (role, addr, incarnation) = (get("role")?, get("addr")?, get("incarnation")?);
    Ok(DomainMeta {
        node: get("node")?,
        id: get("id")?,
        role: [Role::Lb, Role::Service]
            .into_iter()
            .find(|r| r.as_str() == role)
            .ok_or_else(|| bad("role", &role))?,
        addr: addr.parse().map_err(|_| bad("addr", &addr))?,
        incarnation: incarnation.parse().map_err(|_| bad("incarnation", &incarnation))?,
    })
}

#[cfg(test)]
mod tests;
