use super::*;

#[test]
fn targets_are_vms_load_balancers_and_managers() {
    let plan = Plan::new("10.77.0.0/16".parse().expect("a network"), 2, 24).expect("a plan");
    let (host1, host2) = (&plan.hosts[0], &plan.hosts[1]);
    assert_eq!(
        parse_target(&plan, "host2/svc-3").expect("a VM"),
        Target::Vm(host2, Which::Id("host2/svc-3"))
    );
    assert_eq!(parse_target(&plan, "lb:host1").expect("an LB"), Target::Vm(host1, Which::Lb));
    let program = parse_target(&plan, "program:host2/svc-3").expect("a program");
    assert_eq!(program, Target::Program(host2, Which::Id("host2/svc-3")));
    let program = parse_target(&plan, "program:lb:host1").expect("a program");
    assert_eq!(program, Target::Program(host1, Which::Lb));
    assert_eq!(parse_target(&plan, "manager:host2").expect("a manager"), Target::Manager(host2));
}

#[test]
fn an_unknown_target_is_named() {
    let plan = Plan::new("10.77.0.0/16".parse().expect("a network"), 2, 24).expect("a plan");
    for (text, part) in [
        ("host3/svc-3", "host3/svc-3"),
        ("lb:host3", "host3"),
        ("manager:", "no host ``"),
        ("svc-3", "svc-3"),
        ("program:lb:host3", "host3"),
        ("program:manager:host1", "neither"),
        ("program:", "neither"),
        ("", "neither"),
    ] {
        let error = parse_target(&plan, text).expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
}
