//! A LAN in network namespaces: a switch, hosts with a bridge and a load balancer behind it, and a client.
//!
//! Each namespace belongs to a thread that runs whatever it is told there, and ends with it: nothing is left behind.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use manager::net::announce::{Announcer, ArpSeen};
use manager::net::{Conflict, MacAddr, Net, PeerRoute, Settings, VipDesired, VipRoute, vm_mac};
use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::libvirtd::{PATIENCE, wait_for};

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
pub(crate) const PORT: u16 = 80;

type Job = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// A network namespace, and a thread in it that does what it is told.
pub(crate) struct Namespace {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    tid: nix::unistd::Pid,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let (tell, told) = std_mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            tell.send(nix::unistd::gettid()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while let Some(job) = queue.recv().await {
                    job().await;
                }
            });
        });
        let namespace = Self { jobs: Some(jobs), thread: Some(thread), tid: told.recv().unwrap() };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` in the namespace and returns what it returns. Tasks it spawns go on.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        let (tell, told) = std_mpsc::channel();
        let job: Job = Box::new(move || {
            let work = work();
            Box::pin(async move {
                let _ = tell.send(work.await);
            })
        });
        assert!(self.jobs.as_ref().unwrap().send(job).is_ok(), "the namespace's thread has ended");
        told.recv_timeout(PATIENCE).expect("the namespace's thread panicked or hangs")
    }

    /// Runs `ip` there.
    pub(crate) fn ip(&self, line: &str) -> String {
        self.command("ip", line)
    }

    /// Runs a program there; it has to succeed.
    pub(crate) fn command(&self, program: &'static str, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || async move {
            let output = Command::new(program).args(line.split_whitespace()).output().expect(program);
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program} {line}: {complaint}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    pub(crate) fn write(&self, path: &str, value: &'static str) {
        let path = path.to_owned();
        self.run(move || async move { std::fs::write(&path, value).expect(&path) });
    }

    pub(crate) fn mac(&self, interface: &str) -> MacAddr {
        let shown = self.ip(&format!("-o link show {interface}"));
        let mac = shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        mac.expect("a MAC").parse().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if ended.is_some_and(|ended| ended.is_err()) && !std::thread::panicking() {
            panic!("the namespace's thread panicked");
        }
    }
}

/// A switch and what is plugged into it.
pub(crate) struct Lan {
    pub(crate) switch: Namespace,
}

impl Lan {
    pub(crate) fn new() -> Self {
        let switch = Namespace::new();
        switch.ip("link add sw0 type bridge");
        switch.ip("link set sw0 up");
        Self { switch }
    }

    /// Plugs `namespace` in, as `lan0`, at the switch's port `port`.
    pub(crate) fn plug(&self, namespace: &Namespace, port: &str, addr: &str) {
        let tid = namespace.tid;
        self.switch.ip(&format!("link add {port} type veth peer name lan0 netns {tid}"));
        self.switch.ip(&format!("link set {port} master sw0 up"));
        namespace.ip(&format!("addr add {addr}/24 dev lan0"));
        namespace.ip("link set lan0 up");
    }

    pub(crate) fn client(&self) -> Client {
        let namespace = Namespace::new();
        self.plug(&namespace, "client", "10.77.0.5");
        Client { namespace }
    }

    /// The host number `number`, 11 or 12, with its network made and its load balancer running.
    pub(crate) fn host(&self, number: u8) -> Host {
        let namespace = Namespace::new();
        self.plug(&namespace, &format!("host{number}"), &format!("10.77.0.{number}"));
        let net = open(&namespace, number, "nft".into());
        let host_net = Arc::clone(&net);
        namespace.run(move || async move { host_net.ensure().await.map(drop) }).unwrap();
        let host = Host { number, balancer: Namespace::new(), net, namespace };
        host.start_balancer();
        host
    }
}

fn open(namespace: &Namespace, number: u8, nft: PathBuf) -> Arc<Net> {
    let peers = [11, 12, 13].into_iter().filter(|of| *of != number).map(|of| PeerRoute {
        pool: format!("10.77.{of}.0/24").parse().unwrap(),
        via: Ipv4Addr::new(10, 77, 0, of),
    });
    let settings = Settings {
        interface: "lan0".into(),
        bridge: "phx0".into(),
        pool: format!("10.77.{number}.0/24").parse().unwrap(),
        host_addr: Ipv4Addr::new(10, 77, number, 1),
        peers: peers.collect(),
        vip: Some(VIP),
    };
    namespace.run(move || async move { Arc::new(Net::open_with(settings, &nft).await.expect("open")) })
}

pub(crate) struct Host {
    pub(crate) number: u8,
    pub(crate) net: Arc<Net>,
    pub(crate) balancer: Namespace,
    pub(crate) namespace: Namespace,
}

impl Host {
    pub(crate) fn lan_addr(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    pub(crate) fn balancer_addr(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 10)
    }

    /// The part of the owner.
    pub(crate) fn owner(&self) -> VipDesired {
        let route = VipRoute::Bridge(self.balancer_addr());
        VipDesired { addr: VIP, answer: true, route, second_chance: None }
    }

    /// What `with` does with the host's network part, in its namespace.
    pub(crate) fn with<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        with: impl FnOnce(Arc<Net>) -> F + Send + 'static,
    ) -> T {
        let net = Arc::clone(&self.net);
        self.namespace.run(move || with(net))
    }

    pub(crate) fn set_vip(&self, wanted: VipDesired) {
        let changes = self.with(move |net| async move { net.set_vip(wanted).await }).expect("set_vip");
        for conflict in &changes.conflicts {
            // A busy machine may be too slow for the address; what it was too slow for follows.
            let slow = |reason: &String| {
                wanted.second_chance.is_some() && reason.contains("nft did not answer within")
            };
            assert!(
                matches!(conflict, Conflict::NoSecondChance { reason, .. } if slow(reason)),
                "{conflict:?}"
            );
            wait_for("the second chance", || {
                let repaired = self.with(|net| async move { net.ensure().await }).expect("ensure");
                repaired.conflicts.is_empty().then_some(())
            });
        }
        assert_eq!(self.installed(), wanted);
    }

    pub(crate) fn installed(&self) -> VipDesired {
        self.with(|net| async move { net.vip_installed().await }).unwrap().expect("there is an address")
    }

    /// Ends the process's part and begins anew, as a restart does.
    pub(crate) fn restart(&mut self) {
        self.restart_with(Path::new("nft"));
    }

    /// The same, with `nft` for the program of that name.
    pub(crate) fn restart_with(&mut self, nft: &Path) {
        self.net = open(&self.namespace, self.number, nft.to_owned());
    }

    pub(crate) fn announcer(&self) -> (Announcer, mpsc::Receiver<ArpSeen>) {
        announcer(&self.namespace)
    }

    /// A server in a namespace behind the bridge, with the public address on its `lo` as in an LB VM: it says the host's
    /// number and then echoes.
    fn start_balancer(&self) {
        let (number, addr, mac) = (self.number, self.balancer_addr(), vm_mac(self.balancer_addr(), 1));
        let tid = self.balancer.tid;
        self.namespace.ip(&format!("link add lb0 type veth peer name eth0 address {mac} netns {tid}"));
        self.namespace.ip("link set lb0 master phx0 up");
        for line in [
            format!("addr add {addr}/32 dev eth0"),
            format!("addr add {VIP}/32 dev lo"),
            "link set eth0 up".to_owned(),
            format!("route add default via 10.77.{number}.1 dev eth0 onlink"),
        ] {
            self.balancer.ip(&line);
        }
        self.with(move |net| async move { net.set_vm(addr, mac).await }).unwrap();
        self.balancer.run(move || async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await.unwrap();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, number));
                }
            });
        });
    }
}

async fn serve(mut stream: TcpStream, number: u8) -> std::io::Result<()> {
    stream.write_all(&[number]).await?;
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await.map(drop)
}

pub(crate) fn announcer(namespace: &Namespace) -> (Announcer, mpsc::Receiver<ArpSeen>) {
    namespace.run(|| async { Announcer::open("lan0".into(), VIP).await.expect("announcer") })
}

pub(crate) struct Client {
    pub(crate) namespace: Namespace,
}

impl Client {
    /// Opens a connection to the address and returns who answered; none if nobody did within `patience`.
    pub(crate) fn ask(&self, patience: Duration) -> Option<u8> {
        self.namespace.run(move || async move {
            tokio::time::timeout(patience, connect()).await.ok()?.ok().map(|(_, number)| number)
        })
    }

    /// Waits until `number` answers. A question that was not answered is asked again a moment later.
    pub(crate) fn wait_for(&self, number: u8) {
        wait_for("an answer", || (self.ask(Duration::from_secs(3)) == Some(number)).then_some(()));
    }

    /// A connection that stays, to the host that answers now.
    pub(crate) fn connect(&self) -> (TcpStream, u8) {
        self.namespace.run(|| async { connect().await.expect("a connection") })
    }

    /// Whether the connection still brings back what is sent through it.
    pub(crate) fn echo(&self, mut stream: TcpStream, len: usize) -> std::io::Result<TcpStream> {
        self.namespace.run(move || async move {
            let sent: Vec<u8> = (0..len).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
            let mut back = vec![0; len];
            let (mut read, mut write) = stream.split();
            tokio::try_join!(write.write_all(&sent), read.read_exact(&mut back))?;
            assert!(sent == back, "the bytes changed on the way");
            Ok(stream)
        })
    }

    /// Says that nothing more will be sent, and waits until the other side says the same.
    pub(crate) fn end(&self, mut stream: TcpStream) -> std::io::Result<usize> {
        self.namespace.run(move || async move {
            stream.shutdown().await?;
            stream.read(&mut [0; 1]).await
        })
    }

    /// Where the client's kernel believes the address to be.
    pub(crate) fn believes(&self) -> Option<MacAddr> {
        let shown = self.namespace.ip(&format!("neigh show {VIP}"));
        let mac = shown.split("lladdr ").nth(1)?.split(' ').next()?;
        Some(mac.parse().unwrap())
    }

    pub(crate) fn forget(&self) {
        self.namespace.ip("neigh flush all");
    }
}

async fn connect() -> std::io::Result<(TcpStream, u8)> {
    let mut stream = TcpStream::connect((VIP, PORT)).await?;
    let number = stream.read_u8().await?;
    Ok((stream, number))
}
