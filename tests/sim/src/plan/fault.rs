//! What breaks, or is changed.

use super::{Network, Tier};

/// Something that breaks, or is changed.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A gateway cannot reach a replica.
    Partition {
        /// The gateway.
        node: usize,
        /// The replica; none: all of them.
        replica: Option<usize>,
        /// For how long.
        length: u64,
        /// Whether it is told at once.
        is_refused: bool,
    },
    /// A replica is killed, and is back later.
    ReplicaCrash {
        /// Which.
        replica: usize,
        /// For how long it is away.
        length: u64,
    },
    /// Redis does not answer.
    RedisAway {
        /// For how long.
        length: u64,
        /// Whether calls to it hang, instead of being refused.
        hangs: bool,
    },
    /// Redis takes its time.
    RedisSlow {
        /// For how long.
        length: u64,
        /// A call's time.
        delay: u64,
    },
    /// Redis's replica takes over, without the newest.
    RedisFailsOver {
        /// Its clock less the old one's.
        skew: i64,
    },
    /// A gateway is killed, and is back later.
    NodeCrash {
        /// Which.
        node: usize,
        /// For how long it is away.
        length: u64,
    },
    /// A worker's memory is lost.
    Rebuild {
        /// The gateway.
        node: usize,
        /// The worker.
        worker: usize,
        /// Whether its old roots go on ticking.
        doubles: bool,
    },
    /// Somebody sets a gateway's wall clock.
    WallJumps {
        /// Which.
        node: usize,
        /// By so much.
        by: i64,
    },
    /// Somebody sets the clock that the store goes by.
    StoreClockJumps {
        /// By so much.
        by: i64,
    },
    /// The network is bad for a while.
    BadNetwork {
        /// What it is.
        network: Network,
        /// For how long.
        length: u64,
    },
    /// A slot of a gateway's table holds what nobody wrote.
    SpoiledSlot {
        /// Which gateway.
        node: usize,
    },
    /// All gateways get another policy, one after the other.
    Policy {
        /// Its tiers: as many, of the same names.
        tiers: Vec<Tier>,
        /// Between two gateways.
        pace: u64,
    },
    /// A consumer gets another of the tiers: its next request says so.
    Move {
        /// A place among the clients.
        client: usize,
        /// A place among the tiers.
        tier: usize,
    },
    /// An admin gives a consumer limits of its own, or takes them away.
    Override {
        /// A place among the clients.
        client: usize,
        /// None: it is removed.
        limits: Option<Tier>,
    },
    /// An admin makes a consumer's bucket or month whole.
    Reset {
        /// A place among the clients.
        client: usize,
        /// The bucket.
        bucket: bool,
        /// The month.
        month: bool,
    },
}
