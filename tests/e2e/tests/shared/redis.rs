//! The store's Redis gone, and back or replaced, while requests come.

use tollgate_testkit::redis::Server;
use tollgate_testkit::redis::cluster::Cluster as RedisCluster;
use tollgate_testkit::redis::watched::Watched;

use crate::Cluster;
use crate::trial::{self, Trial};

impl Trial {
    fn assert_nothing_lost(&self, cluster: &Cluster) {
        cluster.assert_comes_to_use("counted", self.counted.admitted().count());
        cluster.assert_comes_to_use("overload", self.overload.admitted().count());
    }
}

#[test]
fn a_redis_that_is_killed_and_started_again_harms_nobody_and_loses_nothing() {
    let mut redis = Server::start().unwrap();
    let redis = std::cell::RefCell::new(&mut redis);
    let mut cluster = Cluster::in_chaos(2, &redis.borrow().url(), trial::policy);
    let trial =
        Trial::run(&mut cluster, |_| redis.borrow_mut().kill(), |_| redis.borrow_mut().restart().unwrap());
    trial.assert_harmless();
    trial.assert_nothing_lost(&cluster);
}
