//! A reverse proxy with nothing in it: pingora's own server and `ProxyHttp` with its defaults, and upstreams in
//! turn. What the load balancer costs on top of it is the price of its features.
//!
//! It refuses to do anything else: no retries beyond pingora's, no time-outs, no logs, no metrics.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use async_trait::async_trait;
use clap::Parser;
use pingora::prelude::{HttpPeer, Server};
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

/// As in the load balancer, so that allocators are not what is compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A reverse proxy with nothing in it, to measure others against.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where to listen.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// An upstream; several are taken in turn.
    #[arg(long = "upstream", required = true, value_name = "ADDR")]
    upstreams: Vec<SocketAddr>,
    /// Threads that carry traffic, 1 to 256.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Idle connections to upstreams that are kept, 1 to 65536.
    #[arg(long, default_value_t = 128)]
    keepalive: usize,
}

struct Bare {
    upstreams: Vec<SocketAddr>,
    turn: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let upstream = self.upstreams[turn % self.upstreams.len()];
        Ok(Box::new(HttpPeer::new(upstream, false, String::new())))
    }
}

fn main() -> anyhow::Result<()> {
    let Args { listen, upstreams, threads, keepalive } = Args::parse();
    ensure!((1..=256).contains(&threads), "--threads must be 1 to 256, not {threads}");
    ensure!((1..=65_536).contains(&keepalive), "--keepalive must be 1 to 65536, not {keepalive}");
    let conf = ServerConf { threads, upstream_keepalive_pool_size: keepalive, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let bare = Bare { upstreams, turn: AtomicUsize::new(0) };
    let mut service = http_proxy_service(&server.configuration, bare);
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    server.run_forever()
}
