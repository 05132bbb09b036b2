//! Upstreams: endpoints and rules. An unchanged one is the very one of the last version, so that every
//! core keeps its connections and what it knows. It never resolves a name.

use std::sync::Arc;

use crate::base::address::Address;
use crate::base::ids::{EndpointId, UpstreamId};
use crate::base::limits::POOL_AGE_MAX;
use crate::base::name::Name;
use crate::compile::Compiler;
use crate::config;
use crate::upstream::{Balance, Endpoint, Rules, Upstream};

impl Compiler<'_> {
    pub(super) fn upstreams(&mut self) -> Vec<Arc<Upstream>> {
        let known = self.last.map_or(&[][..], |last| &last.gateway.upstreams);
        let compiled = self.config.upstreams.iter().enumerate().map(|(index, written)| {
            let upstream = upstream(index, written);
            let same = known.iter().find(|known| ***known == upstream).cloned();
            same.unwrap_or_else(|| Arc::new(upstream))
        });
        compiled.collect()
    }
}

fn upstream(index: usize, written: &config::Upstream) -> Upstream {
    let endpoint = |(index, endpoint): (usize, &config::Endpoint)| {
        let address = endpoint.address.value.clone();
        let host = match &address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let weight = u16::try_from(endpoint.weight).unwrap_or(u16::MAX);
        Endpoint { id: EndpointId(index as u32), address, host: host.into(), weight }
    };
    Upstream {
        id: UpstreamId(index as u32),
        name: Name::new(&written.name.value),
        endpoints: written.endpoints.iter().enumerate().map(endpoint).collect(),
        balance: match written.balance {
            config::Balance::RoundRobin => Balance::RoundRobin,
            config::Balance::LeastRequest => Balance::LeastRequest,
        },
        rules: Rules {
            connect_timeout: written.timeout.connect,
            first_byte_timeout: written.timeout.first_byte,
            idle_timeout: written.timeout.idle,
            pool_idle_max: written.pool.idle_max,
            pool_idle_timeout: written.pool.idle_timeout,
            pool_age_max: POOL_AGE_MAX,
            retries: written.retries,
        },
    }
}
