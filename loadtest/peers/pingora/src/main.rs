//! The least program that proxies by Pingora, to be measured beside the gateway: one origin, connections kept, no log
//! (forwarding by RFC 9110 section 7.6 is the library's). Never part of the gateway, whose dependencies know nothing of it.
//!
//! peer-pingora LISTEN_PORT UPSTREAM_PORT THREADS [TLS_PORT CERT KEY] [--h2c]

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::{Server, configuration::ServerConf};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Proxy {
    upstream: std::net::SocketAddr,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _s: &mut Session, _c: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let h2c = args.iter().any(|a| a == "--h2c");
    args.retain(|a| a != "--h2c");
    let listen = &args[0];
    let upstream = format!("127.0.0.1:{}", args[1]).parse().expect("upstream port");
    let threads: usize = args[2].parse().expect("threads");

    let conf = ServerConf {
        threads,
        upstream_keepalive_pool_size: 512,
        pid_file: std::env::temp_dir()
            .join(format!("peer-pingora-{listen}.pid"))
            .display()
            .to_string(),
        upgrade_sock: std::env::temp_dir()
            .join(format!("peer-pingora-{listen}.sock"))
            .display()
            .to_string(),
        ..Default::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let mut svc = http_proxy_service(&server.configuration, Proxy { upstream });
    if h2c {
        let mut o = HttpServerOptions::default();
        o.h2c = true;
        svc.app_logic_mut().expect("app").server_options = Some(o);
    }
    svc.add_tcp(&format!("127.0.0.1:{listen}"));
    if args.len() > 5 {
        let mut tls = TlsSettings::intermediate(&args[4], &args[5]).expect("tls");
        tls.enable_h2();
        svc.add_tls_with_settings(&format!("127.0.0.1:{}", args[3]), None, tls);
    }
    server.add_service(svc);
    server.run_forever();
}
