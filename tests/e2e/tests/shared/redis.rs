//! Requests while the store's Redis is gone, and back or replaced.

use std::cell::RefCell;

use tollgate_testkit::redis::Server;
use tollgate_testkit::redis::cluster::Cluster as RedisCluster;
use tollgate_testkit::redis::watched::Watched;

use crate::Cluster;
use crate::trial::{self, Extent, Trial};

#[test]
fn a_redis_that_is_killed_and_started_again_harms_nobody_and_loses_nothing() {
    let redis = RefCell::new(Server::start().unwrap());
    let mut cluster = Cluster::open(2, &redis.borrow().url(), trial::policy);
    let trial = Trial::run(
        &mut cluster,
        Extent::All,
        |_| redis.borrow_mut().kill(),
        |_| redis.borrow_mut().restart().unwrap(),
    );
    trial.assert_harmless();
    trial.assert_nothing_lost(&cluster);
}

#[test]
fn a_redis_that_is_replaced_by_its_replica_harms_nobody_and_loses_nothing() {
    let redis = RefCell::new(Watched::start().unwrap());
    let mut cluster = Cluster::open(2, &redis.borrow().url(), trial::policy);
    let trial = Trial::run(
        &mut cluster,
        Extent::Some,
        |_| redis.borrow_mut().master().unwrap().kill(),
        |_| redis.borrow_mut().failed_over().unwrap(),
    );
    trial.assert_harmless();
    trial.assert_nothing_lost(&cluster);
}

#[test]
fn a_cluster_whose_master_is_replaced_by_its_replica_harms_nobody_and_loses_nothing() {
    let redis = RefCell::new(RedisCluster::start().unwrap());
    let mut cluster = Cluster::open(2, &redis.borrow().url(), trial::policy);
    let trial = Trial::run(
        &mut cluster,
        Extent::Some,
        |_| {
            redis.borrow_mut().kill_master_of("tollgate:a:{fingerprint:00}").unwrap();
        },
        |_| redis.borrow().failed_over().unwrap(),
    );
    trial.assert_harmless();
    trial.assert_nothing_lost(&cluster);
}
