//! Pushes to a load balancer that forgets, refuses, dies and comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use manager_core::core::LbTarget;
use manager_core::{Core, Time};
use tokio::sync::watch;
use wire::{ErrorBody, Generation, PutUpstreams, Upstream, UpstreamState, UpstreamStatus, UpstreamsView};

use super::{Accepted, Work, run};
use crate::driver::fake;
use crate::identity::{Purpose, Secret, Token};
use crate::metrics::Metrics;

/// A load balancer's admin API, as far as generations go.
#[derive(Clone, Default)]
struct Lb {
    held: Arc<Mutex<(u64, Vec<Upstream>)>>,
    puts: Arc<Mutex<Vec<u64>>>,
    token: String,
}

async fn view(State(lb): State<Lb>) -> Json<UpstreamsView> {
    let (generation, held) = lb.held.lock().unwrap().clone();
    let status = |upstream| UpstreamStatus {
        upstream,
        available: true,
        in_flight: 0,
        attempts_total: 0,
        failures_total: 0,
    };
    Json(UpstreamsView { generation, upstreams: held.into_iter().map(status).collect() })
}

async fn put(
    State(lb): State<Lb>,
    headers: HeaderMap,
    Json(body): Json<PutUpstreams>,
) -> Result<Json<Generation>, (StatusCode, Json<ErrorBody>)> {
    assert_eq!(headers["authorization"], lb.token);
    lb.puts.lock().unwrap().push(body.generation);
    let mut held = lb.held.lock().unwrap();
    let same = body.generation == held.0 && body.upstreams == held.1;
    if body.generation <= held.0 && !same {
        return Err((StatusCode::CONFLICT, Json(ErrorBody::new("stale_generation", "older"))));
    }
    *held = (body.generation, body.upstreams);
    Ok(Json(Generation { generation: held.0 }))
}

struct World {
    lb: Lb,
    work: watch::Sender<Work>,
    accepted: watch::Receiver<Accepted>,
    /// Keeps the secret's folder for the test's length.
    _dir: tempfile::TempDir,
}

impl World {
    /// A load balancer that holds `held` already, and a pusher that has nothing to do yet.
    async fn start(held: (u64, Vec<Upstream>)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = token(&dir);
        let lb = Lb { held: Arc::new(Mutex::new(held)), token: token.header(), ..Lb::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().route("/v1/upstreams", get(view).put(put)).with_state(lb.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let config: crate::config::Config = toml::from_str(CONFIG).unwrap();
        let driver = fake::spawn(Core::new(Time::default(), config.core().unwrap()), Arc::default());
        let (work, to_do) = watch::channel(Work::default());
        let (done, accepted) = watch::channel(Accepted::default());
        let metrics = Arc::new(Metrics::new().unwrap());
        tokio::spawn(run(to_do, done, port, token, driver, metrics));
        Self { lb, work, accepted, _dir: dir }
    }

    fn want(&self, incarnation: u64, upstreams: &[Upstream]) {
        let target = LbTarget { id: "host1/lb-2".to_owned(), incarnation, addr: Ipv4Addr::LOCALHOST };
        self.work.send_replace(Work {
            target: Some(target),
            upstreams: Arc::new(upstreams.to_vec()),
            reported: None,
        });
    }

    fn report(&self, generation: u64) {
        self.work.send_modify(|work| work.reported = Some(generation));
    }

    async fn until(&self, what: &str, reached: impl Fn(&Lb) -> bool) {
        for _ in 0..1_000 {
            if reached(&self.lb) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("not reached: {what}; held {:?}", self.lb.held.lock().unwrap());
    }

    async fn until_held(&mut self, generation: u64, upstreams: &[Upstream]) {
        self.until("the set", |lb| *lb.held.lock().unwrap() == (generation, upstreams.to_vec())).await;
        self.accepted.wait_for(|accepted| accepted.generation == generation).await.unwrap();
    }
}

const CONFIG: &str = r#"
node = "host1"
api = { listen = "10.77.0.11:7700" }
network = { interface = "eth0", pool = "10.77.11.0/24" }
"#;

fn token(dir: &tempfile::TempDir) -> Token {
    let path = dir.path().join("secret");
    std::fs::write(&path, [b'x'; 32]).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Secret::load(&path).unwrap().token(Purpose::LbAdmin { node: "host1" })
}

fn upstream(name: &str) -> Upstream {
    Upstream {
        id: format!("host1/{name}"),
        incarnation: 1,
        addr: SocketAddr::from(([10, 77, 11, 3], 8080)),
        weight: 1,
        state: UpstreamState::Up,
        backup: false,
        max_conns: 0,
    }
}

#[tokio::test]
async fn it_counts_on_where_an_earlier_manager_stopped() {
    let (a, b) = (upstream("a"), upstream("b"));
    let mut world = World::start((7, vec![a.clone()])).await;
    world.want(1, &[a.clone(), b.clone()]);
    world.until_held(8, &[a, b.clone()]).await;
    world.want(1, std::slice::from_ref(&b));
    world.until_held(9, &[b]).await;
}

#[tokio::test]
async fn a_new_life_of_the_load_balancer_is_told_all() {
    let a = upstream("a");
    let mut world = World::start((0, vec![])).await;
    world.want(1, std::slice::from_ref(&a));
    world.until_held(1, std::slice::from_ref(&a)).await;
    *world.lb.held.lock().unwrap() = (0, vec![]);
    world.want(2, std::slice::from_ref(&a));
    world.until_held(1, &[a]).await;
}

#[tokio::test]
async fn one_that_forgot_is_told_again_and_one_that_is_up_to_date_is_left_alone() {
    let a = upstream("a");
    let mut world = World::start((4, vec![])).await;
    world.want(1, std::slice::from_ref(&a));
    world.until_held(5, std::slice::from_ref(&a)).await;
    world.report(5);
    *world.lb.held.lock().unwrap() = (0, vec![]);
    world.report(0);
    world.until_held(5, &[a]).await;
    assert_eq!(*world.lb.puts.lock().unwrap(), [5, 5]);
}

#[tokio::test]
async fn a_refused_generation_is_read_anew() {
    let (a, b) = (upstream("a"), upstream("b"));
    let mut world = World::start((1, vec![])).await;
    world.want(1, std::slice::from_ref(&a));
    world.until_held(2, std::slice::from_ref(&a)).await;
    // Somebody else has pushed meanwhile.
    *world.lb.held.lock().unwrap() = (40, vec![]);
    world.want(1, std::slice::from_ref(&b));
    world.until_held(41, &[b]).await;
}
