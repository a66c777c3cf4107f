use super::*;

const XML: &str = "<domain type='qemu' id='3'>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <channel type='unix'>
      <source mode='bind' path='/run/phalanx/a.sock'/>
    </channel>
    <serial type='file'>
      <source path='/run/phalanx/host1-lb-2.1.console' append='on'/>
      <target type='isa-serial' port='0'/>
      <alias name='serial0'/>
    </serial>
  </devices>
</domain>";

#[test]
fn the_consoles_file_is_found() {
    assert_eq!(console_file(XML).expect("a file"), "/run/phalanx/host1-lb-2.1.console");
}

#[test]
fn another_console_is_no_file() {
    for xml in [
        XML.replace("type='file'", "type='pty'"),
        XML.replace("path='/run/phalanx/host1", "path='/a&amp;b"),
        String::new(),
    ] {
        assert!(console_file(&xml).is_err(), "{xml}");
    }
}

#[test]
fn only_two_signals_have_a_key() {
    assert_eq!(order(Signal::KILL).expect("a key").key, b'i');
    assert_eq!(order(Signal::TERM).expect("a key").key, b'e');
    let error = order(Signal::STOP).expect_err("no key").to_string();
    assert!(error.starts_with("--signal:"), "{error}");
}
