//! The node's shared memory, as one root context finds it.

use log::warn;
use tollgate_node::table::{Geometry, Table, known_good};

use super::abi::{self, Kind};
use super::host::HostKind;

/// The host that owns the memory, and the gauges about it.
pub struct Memory {
    pub host: HostKind,
    /// The gauge for rejected policies, in Kong alone: Envoy rejects them itself.
    pub rejected: Option<u32>,
    records: Option<u32>,
}

impl Memory {
    /// Finds out the host by its memory, which is to hold this number of `clients`.
    ///
    /// Kong traps here if it has no zone, and serves the routes without the filter. So the reason has to be in the log
    /// right before, as a warning, since Kong's default level hides anything less. If the gauge says that the node's memory
    /// was there before, there is nothing to warn of.
    #[inline(never)]
    pub fn open(clients: u32) -> Self {
        let early =
            if HostKind::may_be_kong() { abi::define_metric(Kind::Gauge, "table_records") } else { None };
        let zone = zone_for(clients);
        if let Some(gauge) = early
            && abi::metric(gauge).unwrap_or(0) == 0
        {
            warn!(
                "tollgate: opening shared memory; if Kong now fails to initialize the filter, it has no zone for it: \
                 set KONG_NGINX_WASM_SHM_KV_TOLLGATE={zone}m (nginx: shm_kv tollgate {zone}m) and restart"
            );
            // One worker warns for all that start at the same time.
            abi::record(gauge, 1);
        }
        let host = HostKind::find();
        if host == HostKind::Kong && !Table::is_there(&host) {
            known_good::reserve(&host);
        }
        let gauge = |name| host.define_metric(Kind::Gauge, name);
        Self {
            host,
            rejected: if host == HostKind::Kong { gauge("policy_rejected") } else { None },
            records: early.or_else(|| gauge("table_records")),
        }
    }

    /// Publishes how many clients' records the node's table has room for.
    pub fn publish_records(&self, geometry: &Geometry) {
        if let Some(gauge) = self.records {
            abi::record(gauge, geometry.records());
        }
    }
}

/// The zone that a table for `clients` needs in Kong, in MiB.
pub fn zone_for(clients: u32) -> u64 {
    Geometry::for_clients(clients).zone_mebibytes()
}
