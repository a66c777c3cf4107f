//! What goes wrong on real hosts: a missing libvirtd, a full disk, hangs, mistakes. Each must end in a clear error
//! or in a clean recovery, and clients must not notice.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use http::{Method, StatusCode};
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use wire::VmState;

use super::job::{
    HEALED_WITHIN, MANAGER_WITHIN, RATE, healed, host_of, lbs_of, lives_of, service_of, settled, vm_killed,
};
use super::mistakes::{bridge_removed, pool_changed};
use super::{Report, address, cut};
use crate::admin::{Admin, expect_error};
use crate::cli::Action;
use crate::commands::{kill, libvirtd};
use crate::ns::path_in_host;
use crate::plan::HostPlan;
use crate::probe::{Probe, brief, expect_none_failed};
use crate::state::State;
use crate::status::{Status, cluster_view, state_word};
use crate::steps::wait_for;
use crate::up;

/// How long a manager stays stopped: longer than all its heartbeat time-outs together.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn steps(report: &mut Report, state: &State) {
    let [first, .., last] = state.plan.hosts.as_slice() else { return };
    report
        .step(
            "malformed bodies, unknown fields, wrong tokens: refused by name, nothing changed",
            bad_requests(state, first),
        )
        .await;
    report.step("create at a used address: 409 that names addr", used_address(state, first)).await;
    report.step("create in an exhausted pool: 409 no_room", exhausted_pool(state, last)).await;
    report
        .step("a second manager on a host: refused, the first undisturbed", second_manager(state, first))
        .await;
    report
        .step(
            "a QEMU hangs (SIGSTOP): replaced at its address, no request fails",
            vm_killed(state, &first.name, "STOP"),
        )
        .await;
    report
        .step(
            "a manager is stopped for 5 s (SIGSTOP, SIGCONT): no VM is lost, no request fails",
            manager_paused(state, first),
        )
        .await;
    report
        .step(
            "libvirtd stopped while a VM dies: clear errors, healed when it is back",
            without_libvirtd(state, first),
        )
        .await;
    report
        .step(
            "/var is full while a VM dies: clear error or healed, and healed when there is room",
            full_var(state, first),
        )
        .await;
    report
        .step(
            "the pool is changed in a manager's configuration: refused, no request fails",
            pool_changed(state, last),
        )
        .await;
    report
        .step("a host's bridge is removed: made again, no VM is replaced", bridge_removed(state, first))
        .await;
    report
        .step(
            "a host's cable is cut: the other load balancer answers every second; mended: all serve again",
            cut::cable_cut(state, last),
        )
        .await;
    address::fault_steps(report, state).await;
}

/// The answer to a request that must be refused.
struct Refusal {
    method: Method,
    path: &'static str,
    body: Option<String>,
    status: StatusCode,
    /// The field or parameter that the error must name.
    names: Option<&'static str>,
}

async fn bad_requests(state: &State, host: &HostPlan) -> Result<String> {
    let before = lives_of(&settled(state).await?, &host.name)?;
    let admin = Admin::of(host)?;
    let post = |body: &str, names| Refusal {
        method: Method::POST,
        path: "/v1/vms",
        body: Some(body.to_owned()),
        status: StatusCode::BAD_REQUEST,
        names,
    };
    let without_body = |method, path, status| Refusal { method, path, body: None, status, names: None };
    let mut cases = vec![
        post("{", None),
        post("[]", None),
        post("", None),
        post(r#"{"addr": "10.77.11.300"}"#, Some("addr")),
        post(r#"{"addr": "192.0.2.1"}"#, Some("addr")),
        post(r#"{"addr": 7}"#, Some("addr")),
        post(r#"{"adr": "10.77.11.9"}"#, Some("adr")),
        without_body(Method::DELETE, "/v1/vms/host1/no-such-vm", StatusCode::NOT_FOUND),
        without_body(Method::GET, "/v1/no-such-thing", StatusCode::NOT_FOUND),
        without_body(Method::PATCH, "/v1/vms", StatusCode::METHOD_NOT_ALLOWED),
    ];
    // The host's own address is in the pool, and yet not for VMs.
    let own = host.pool.hosts().next().context("the pool has addresses")?;
    cases.push(post(&format!(r#"{{"addr": "{own}"}}"#), Some("addr")));
    for case in &cases {
        let response = admin.send(case.method.clone(), case.path, case.body.as_deref()).await?;
        let what = format!("{} {} {}", case.method, case.path, case.body.as_deref().unwrap_or_default());
        let error = expect_error(&response, case.status, None).context(what.clone())?;
        if let Some(name) = case.names {
            let named = error.path.as_deref() == Some(name) || error.message.contains(name);
            ensure!(named, "{what}: the error does not name {name}: {}", response.text());
        }
    }
    for token in [None, Some("0000000000000000000000000000000000000000000000000000000000000000")] {
        let response = admin.send_as(token, Method::POST, "/v1/vms").await?;
        expect_error(&response, StatusCode::UNAUTHORIZED, None)
            .context("POST /v1/vms without the right token")?;
    }
    // The manager may answer before it has read it all, or cut the connection; it must not take it.
    let huge = format!(r#"{{"addr": "{}"}}"#, "x".repeat(9 << 20));
    if let Ok(response) = admin.send(Method::POST, "/v1/vms", Some(&huge)).await {
        ensure!(
            response.status.is_client_error(),
            "a body of 9 MiB: {}: {}",
            response.status,
            response.text()
        );
    }
    let after = lives_of(&Status::collect(state).await, &host.name)?;
    ensure!(after == before, "the VMs were {before:?} and are {after:?}");
    Ok(format!("{} requests", cases.len() + 3))
}

async fn used_address(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    let vm = service_of(&status, &host.name)?;
    let body = format!(r#"{{"addr": "{}"}}"#, vm.ip);
    let response = Admin::of(host)?.send(Method::POST, "/v1/vms", Some(&body)).await?;
    let error = expect_error(&response, StatusCode::CONFLICT, None)?;
    ensure!(error.path.as_deref() == Some("addr"), "the error does not name addr: {}", response.text());
    ensure!(
        lives_of(&Status::collect(state).await, &host.name)? == lives_of(&status, &host.name)?,
        "the VMs have changed"
    );
    Ok(error.message)
}

async fn exhausted_pool(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    // The first address is the host's, and one is kept for the load balancer's next life.
    let free = host.pool.hosts().count() - 2 - host_of(&status, &host.name)?.vms.len();
    let admin = Admin::of(host)?;
    let mut made = Vec::new();
    let result = async {
        for number in 1..=free {
            made.push(
                admin
                    .create()
                    .await
                    .with_context(|| format!("VM {number} of {free} that there is room for"))?,
            );
        }
        let response = admin.send(Method::POST, "/v1/vms", Some("{}")).await?;
        expect_error(&response, StatusCode::CONFLICT, Some("no_room"))
    }
    .await;
    // Whatever was found, the next step needs the two VMs of the beginning only.
    let mut removed = Ok(());
    for id in &made {
        removed = removed.and(admin.delete(id).await);
    }
    let error = result?;
    removed?;
    for id in &made {
        gone(state, id).await?;
    }
    // An address that was given back can be given again.
    let again = admin.create().await.context("create after the pool has room again")?;
    admin.delete(&again).await?;
    gone(state, &again).await?;
    Ok(error.message)
}

async fn second_manager(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    let own = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(own);
    command.args(["enter", &host.name, "--"]).arg(state.bin_dir.join("manager"));
    command.args(["--config", "/etc/phalanx/manager.toml"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(Duration::from_secs(20), command.output())
        .await
        .map_err(|_| anyhow!("it runs and runs"))??;
    ensure!(!output.status.success(), "it ended with {}", output.status);
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let first = host_of(&status, &host.name)?.manager_pid.context("the first one does not run")?;
    let reason = format!("another manager (pid {first})");
    let line = text.lines().find(|line| line.contains(&reason));
    let line = line.with_context(|| format!("it does not say \"{reason}\": {}", text.trim()))?.to_owned();
    let after = Status::collect(state).await;
    ensure!(host_of(&after, &host.name)? == host_of(&status, &host.name)?, "the first one was disturbed");
    up::all_served(state).await?;
    Ok(line)
}

async fn manager_paused(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    let before = lives_of(&status, &host.name)?;
    let target = format!("manager:{}", host.name);
    let probe = Probe::under_load(state, &lbs_of(&status)?, RATE).await?;
    kill(state, &target, "STOP").await?;
    sleep(PAUSE).await;
    kill(state, &target, "CONT").await?;
    let back = wait_for("the manager", MANAGER_WITHIN, || up::vms_are_up(state, 2)).await;
    // Long enough for a wrong verdict to show.
    sleep(PAUSE).await;
    let served = up::all_served(state).await;
    let summary = probe.stop().await?;
    back?;
    served?;
    let after = lives_of(&Status::collect(state).await, &host.name)?;
    ensure!(after == before, "the VMs were {before:?} and are {after:?}");
    expect_none_failed(&summary)?;
    Ok(brief(&summary))
}

async fn without_libvirtd(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    let victim = service_of(&status, &host.name)?;
    let probe = Probe::under_load(state, &lbs_of(&status)?, RATE).await?;
    libvirtd(state, &host.name, Action::Stop).await?;
    let meanwhile = async {
        kill(state, &victim.id, "KILL").await?;
        let reason =
            wait_for("the reason told", HEALED_WITHIN, || reason_of_absence(host, &victim.id)).await?;
        let created = create_or_refusal(&Admin::of(host)?).await?;
        if let Ok(id) = &created {
            wait_for("the reason told", HEALED_WITHIN, || reason_of_absence(host, id)).await?;
        }
        Ok::<_, anyhow::Error>((reason, created))
    }
    .await;
    libvirtd(state, &host.name, Action::Start).await?;
    let (reason, created) = meanwhile?;
    let start = Instant::now();
    let healed = healed(state, &victim).await;
    let took = start.elapsed();
    let created = finish_creation(state, host, created).await;
    let served = up::all_served(state).await;
    let summary = probe.stop().await?;
    healed?;
    let created = created?;
    served?;
    expect_none_failed(&summary)?;
    let took = took.as_secs_f64();
    Ok(format!("\"{reason}\"; {created}; healed {took:.1} s after its return, {}", brief(&summary)))
}

/// Why a VM is not there, by its manager's account.
async fn reason_of_absence(host: &HostPlan, id: &str) -> Result<String> {
    let view = cluster_view(host).await?;
    let vm = view.vms.into_iter().find(|vm| vm.id == id).with_context(|| format!("{id} is not listed"))?;
    match vm.last_error {
        Some(reason) if vm.state != VmState::Up && vm.qemu_pid.is_none() => Ok(reason),
        _ => bail!("{id} is {} and no reason is told", state_word(vm.state)),
    }
}

/// A creation while something is missing: accepted, to be done later, or refused with a clear error.
async fn create_or_refusal(admin: &Admin<'_>) -> Result<Result<String, String>> {
    let response = admin.send(Method::POST, "/v1/vms", Some("{}")).await?;
    if response.status.is_success() {
        return Ok(Ok(response.json::<wire::Vm>()?.id));
    }
    ensure!(response.status.is_server_error(), "create: {}: {}", response.status, response.text());
    Ok(Err(expect_error(&response, response.status, None)?.message))
}

/// A creation that was accepted must have happened by now, or soon; it is undone. What became of it, in words.
async fn finish_creation(state: &State, host: &HostPlan, created: Result<String, String>) -> Result<String> {
    let id = match created {
        Ok(id) => id,
        Err(message) => return Ok(format!("create refused: \"{message}\"")),
    };
    wait_for(&format!("{id} up"), HEALED_WITHIN, || async {
        let status = Status::collect(state).await;
        let vm = status.vm(&id).context("it is not listed")?;
        ensure!(vm.state == VmState::Up, "it is {}", state_word(vm.state));
        Ok(())
    })
    .await?;
    Admin::of(host)?.delete(&id).await?;
    gone(state, &id).await?;
    Ok("create was done later".to_owned())
}

async fn gone(state: &State, id: &str) -> Result<()> {
    wait_for(&format!("{id} gone"), HEALED_WITHIN, || async {
        ensure!(Status::collect(state).await.vm(id).is_none(), "it is still listed");
        Ok(())
    })
    .await
}

/// Takes all room of a host's `/var` until it is dropped.
pub(super) struct Filler {
    path: PathBuf,
}

impl Filler {
    pub(super) fn fill(host: &str) -> Result<Self> {
        let path = path_in_host(host, "/var/lib/phalanx/filler")?;
        let filler = Self { path };
        let mut file = File::create(&filler.path).context("cannot write below the host's /var")?;
        // Large pieces, then small ones, so that not even a small file has room.
        for size in [1 << 20, 4096, 1] {
            let zeros = vec![0; size];
            loop {
                match file.write_all(&zeros) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("cannot fill the host's /var"),
                }
                ensure!(file.metadata()?.len() < 64 << 20, "the host's /var is larger than it should be");
            }
        }
        Ok(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // It is the lab's own small file system: it goes with the lab at the latest.
        let _ = fs::remove_file(&self.path);
    }
}

async fn full_var(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    let victim = service_of(&status, &host.name)?;
    let admin = Admin::of(host)?;
    let probe = Probe::under_load(state, &lbs_of(&status)?, RATE).await?;
    let filler = Filler::fill(&host.name)?;
    kill(state, &victim.id, "KILL").await?;
    let meanwhile = wait_for("healed or a reason why not", HEALED_WITHIN, || async {
        let view = cluster_view(host).await?;
        let vm = view.vms.iter().find(|vm| vm.id == victim.id).context("it is not listed")?;
        match (vm.state, &vm.last_error) {
            (VmState::Up, _) if vm.incarnation > victim.incarnation => Ok("healed without room".to_owned()),
            (VmState::Down | VmState::Starting, Some(error)) if vm.qemu_pid.is_none() => {
                Ok(format!("\"{error}\""))
            }
            (other, _) => bail!("it is {}", state_word(other)),
        }
    })
    .await;
    let created = create_or_refusal(&admin).await;
    drop(filler);
    let meanwhile = meanwhile?;
    let start = Instant::now();
    let healed = healed(state, &victim).await;
    let took = start.elapsed();
    let created = finish_creation(state, host, created.context("create without room")?).await;
    let served = up::all_served(state).await;
    let summary = probe.stop().await?;
    healed?;
    let created = created?;
    served?;
    expect_none_failed(&summary)?;
    Ok(format!("{meanwhile}; {created}; healed {:.1} s after, {}", took.as_secs_f64(), brief(&summary)))
}
