//! What can break or be changed in a run.

use super::{Network, Tier};

/// Something that breaks or is changed.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A gateway cannot reach a replica.
    Partition {
        /// The gateway.
        node: usize,
        /// The replica; `None` for all of them.
        replica: Option<usize>,
        /// For how long.
        length: u64,
        /// Whether calls are refused at once, instead of hanging.
        is_refused: bool,
    },
    /// A replica is killed, and is back later.
    ReplicaCrash {
        /// The replica.
        replica: usize,
        /// How long it is away.
        length: u64,
    },
    /// Redis does not answer.
    RedisAway {
        /// For how long.
        length: u64,
        /// Whether calls to it hang, instead of being refused.
        hangs: bool,
    },
    /// Redis is slow.
    RedisSlow {
        /// For how long.
        length: u64,
        /// A call's time.
        delay: u64,
    },
    /// Redis's replica takes over, without the newest writes.
    RedisFailsOver {
        /// The difference of its clock and the old server's.
        skew: i64,
    },
    /// A gateway is killed, and is back later.
    NodeCrash {
        /// The gateway.
        node: usize,
        /// How long it is away.
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
    /// A gateway's wall clock is set.
    WallJumps {
        /// The gateway.
        node: usize,
        /// By how much.
        by: i64,
    },
    /// The store's clock is set.
    StoreClockJumps {
        /// By how much.
        by: i64,
    },
    /// The network is bad for a while.
    BadNetwork {
        /// The network meanwhile.
        network: Network,
        /// For how long.
        length: u64,
    },
    /// A slot of a gateway's table is overwritten with garbage.
    SpoiledSlot {
        /// The gateway.
        node: usize,
    },
    /// All gateways get another policy, one after the other.
    Policy {
        /// Its tiers, as many as before and with the same names.
        tiers: Vec<Tier>,
        /// The time between two gateways.
        pace: u64,
    },
    /// A consumer gets another tier, which its next request names.
    Move {
        /// The client's place in the plan.
        client: usize,
        /// The tier's place in the plan.
        tier: usize,
    },
    /// An admin gives a consumer limits of its own, or takes them away.
    Override {
        /// The client's place in the plan.
        client: usize,
        /// The limits; `None` removes the override.
        limits: Option<Tier>,
    },
    /// An admin resets a consumer's bucket, its month or both.
    Reset {
        /// The client's place in the plan.
        client: usize,
        /// Whether the bucket is reset.
        bucket: bool,
        /// Whether the month is reset.
        month: bool,
    },
}
