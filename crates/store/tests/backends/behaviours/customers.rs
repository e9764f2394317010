use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use tollgate_core::limit::Day;
use tollgate_store::backend::{
    Backend, BackendError, CustomerChange, CustomerPage, CustomerQuery, all_customers,
};
use tollgate_store::customers::{Periods, customer_at};

/// The day with this number.
fn day(number: u64) -> Day {
    Day(number as u16)
}

/// Periods of these customers, a day each.
fn periods(customers: &[&str]) -> Periods {
    (0..).zip(customers).fold(Periods::default(), |periods, (number, customer)| {
        periods.with(Some(customer), day(number), Some(day(number + 1)))
    })
}

/// The change from one to the other.
fn change(before: &Periods, after: &Periods, line: &[u8]) -> CustomerChange {
    let kept = |periods: &Periods| (!periods.as_slice().is_empty()).then(|| periods.to_bytes());
    CustomerChange {
        before: kept(before),
        after: kept(after),
        joined: after.customers_missing_in(before),
        left: before.customers_missing_in(after),
        line: line.to_vec(),
    }
}

async fn set(backend: &Arc<dyn Backend>, namespace: &str, consumer: &str, customers: &[&str]) {
    let change = change(&Periods::default(), &periods(customers), b"set");
    assert!(backend.change_customers(namespace, consumer, change).await.unwrap(), "{consumer}");
}

async fn page(
    backend: &Arc<dyn Backend>,
    namespace: &str,
    customer: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> CustomerPage {
    let query = CustomerQuery { customer: customer.map(Into::into), after: after.map(Into::into), limit };
    backend.customer_page(namespace, query).await.unwrap()
}

/// The consumers of all pages of this length.
async fn consumers(
    backend: &Arc<dyn Backend>,
    namespace: &str,
    customer: Option<&str>,
    limit: usize,
) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = page(backend, namespace, customer, after.as_deref(), limit).await;
        assert!(page.rows.len() <= limit, "{limit}");
        let next = page.next().map(ToOwned::to_owned);
        assert!(next.is_none() || next > after, "{next:?} comes after {after:?}");
        after = next;
        all.extend(page.rows.into_iter().map(|row| row.consumer));
        if after.is_none() {
            return all;
        }
    }
}

pub async fn a_consumers_customers_change_with_their_line_and_only_from_what_was_read(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let (none, one, two) = (Periods::default(), periods(&["cus_1"]), periods(&["cus_1", "cus_2"]));
    let make = async |before: &Periods, after: &Periods, line: &[u8]| {
        backend.change_customers(namespace, "acme", change(before, after, line)).await.unwrap()
    };
    assert_eq!(backend.customers_of(namespace, "acme").await.unwrap(), None);
    assert!(!make(&one, &two, b"no").await, "there is nothing yet");
    assert!(make(&none, &one, b"first").await);
    for _ in 0..2 {
        assert!(!make(&none, &two, b"no").await, "something came between");
        assert!(!make(&two, &none, b"no").await);
    }
    assert!(make(&one, &two, b"second").await);
    let kept = backend.customers_of(namespace, "acme").await.unwrap().unwrap();
    assert_eq!(Periods::from_bytes(&kept), Some(two.clone()));
    assert_eq!(consumers(&backend, namespace, Some("cus_2"), 9).await, ["acme"]);
    assert!(make(&two, &one, b"third").await);
    assert_eq!(consumers(&backend, namespace, Some("cus_2"), 9).await, [""; 0]);
    assert_eq!(consumers(&backend, namespace, Some("cus_1"), 9).await, ["acme"]);
    assert!(make(&one, &none, b"fourth").await);
    for customer in [None, Some("cus_1"), Some("cus_2")] {
        assert_eq!(consumers(&backend, namespace, customer, 9).await, [""; 0], "{customer:?}");
    }
    assert_eq!(backend.customers_of(namespace, "acme").await.unwrap(), None);
    let lines = backend.audit(namespace, None, 10).await.unwrap();
    let lines: Vec<_> = lines.iter().map(|(number, line)| (*number, line.as_slice())).collect();
    assert_eq!(lines, [(4, &b"fourth"[..]), (3, b"third"), (2, b"second"), (1, b"first")]);
    assert_eq!(backend.revision(namespace).await.unwrap(), 0, "no gateway has to know");
    // Lines of other changes go on with the next number.
    backend.reset(namespace, crate::ask::client(1), true, false, b"fifth".to_vec()).await.unwrap();
    assert_eq!(backend.audit(namespace, None, 1).await.unwrap(), [(5, b"fifth".to_vec())]);
}

pub async fn consumers_with_customers_are_in_the_order_of_their_bytes(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let long = "x".repeat(4_096);
    let mut names = [
        "a",
        "a b",
        "a\u{1}",
        "aa",
        "A",
        "ä",
        "中",
        "🚪",
        "%:caf%E9",
        "{}*",
        "\u{10ffff}",
        "(",
        "[",
        "+",
        "-",
        &long,
    ];
    // Each begins like another.
    let customers = ["c", "c1", "c10", "c ", "ä", "\u{10ffff}", "(c", "[c"];
    let mut pays = BTreeSet::new();
    for (number, name) in names.iter().enumerate() {
        let both = [customers[number % 3], customers[number % customers.len()]];
        set(&backend, namespace, name, &both).await;
        pays.extend(both.map(|customer| (customer, *name)));
    }
    names.sort_unstable();
    let of = |customer: &str| -> Vec<&str> {
        pays.iter().filter(|(of, _)| *of == customer).map(|(_, name)| *name).collect()
    };
    for limit in [1, 2, 3, 5, 16, 17, 1_000] {
        assert_eq!(consumers(&backend, namespace, None, limit).await, names, "{limit}");
        for customer in customers {
            assert_eq!(
                consumers(&backend, namespace, Some(customer), limit).await,
                of(customer),
                "{customer}"
            );
        }
    }
    for nobody in ["", "c2", "C", "\u{10fffe}"] {
        let other = format!("{nobody}?");
        assert_eq!(consumers(&backend, namespace, Some(&other), 9).await, [""; 0], "{nobody}");
    }
    assert!(!page(&backend, namespace, None, None, names.len()).await.has_more);
    assert!(page(&backend, namespace, None, None, names.len() - 1).await.has_more);
    let after = page(&backend, namespace, None, Some("a\u{1}\u{0}"), 1).await;
    assert_eq!(after.rows[0].consumer, "a b", "nobody has to be called like that");
    assert_eq!(page(&backend, namespace, None, Some("\u{10ffff}\u{0}"), 1).await, CustomerPage::default());
}

pub async fn a_page_of_long_rows_has_few(backend: Arc<dyn Backend>, namespace: &str) {
    let customers: Vec<String> = (0..100).map(|number| format!("{number:0>255}")).collect();
    let customers: Vec<&str> = customers.iter().map(String::as_str).collect();
    for number in 100..160 {
        set(&backend, namespace, &format!("c{number}"), &customers).await;
    }
    let row = periods(&customers).to_bytes().len();
    for customer in [None, Some(customers[7])] {
        let first = page(&backend, namespace, customer, None, 1_000).await;
        assert!(first.has_more);
        let bytes = first.rows.len() * row;
        assert!((1 << 20..(1 << 20) + 2 * row).contains(&bytes), "{} rows of {row}", first.rows.len());
        let all = consumers(&backend, namespace, customer, 1_000).await;
        assert_eq!(all, (100..160).map(|number| format!("c{number}")).collect::<Vec<_>>());
    }
}

pub async fn customers_are_of_their_namespace(backend: Arc<dyn Backend>, namespace: &str) {
    let names = ["", "{", "}", "a}:{b", "%7D", "a", "*", "\r\n\0", "ä", "z"];
    for (number, name) in names.iter().enumerate() {
        let name = format!("{namespace}{name}");
        assert_eq!(page(&backend, &name, None, None, 9).await, CustomerPage::default(), "{name:?}");
        set(&backend, &name, &format!("consumer {number}"), &["cus_1"]).await;
    }
    for (number, name) in names.iter().enumerate() {
        let name = format!("{namespace}{name}");
        for customer in [None, Some("cus_1")] {
            let all = consumers(&backend, &name, customer, 9).await;
            assert_eq!(all, [format!("consumer {number}")], "{name:?}");
        }
    }
}

pub async fn all_customers_are_walked_through_once_each(backend: Arc<dyn Backend>, namespace: &str) {
    let number_of = |number: usize| format!("c{:05}", number * 7_919 % 100_000);
    join_all((0..1_234).map(|number| {
        let backend = &backend;
        async move { set(backend, namespace, &number_of(number), &[&format!("cus_{}", number % 9)]).await }
    }))
    .await;
    let mut wanted: Vec<_> =
        (0..1_234).map(|number| (number_of(number), format!("cus_{}", number % 9))).collect();
    wanted.sort_unstable();
    let all: Vec<_> = all_customers(Arc::clone(&backend), namespace).try_collect().await.unwrap();
    let all: Vec<_> = all
        .into_iter()
        .map(|(consumer, periods)| {
            (consumer, customer_at(periods.as_slice(), Day::FIRST).unwrap().to_owned())
        })
        .collect();
    assert_eq!(all, wanted);
    // Bytes that are no periods end the walk with an error and are not passed over.
    let damaged = CustomerChange { after: Some(b"nonsense".to_vec()), ..CustomerChange::default() };
    assert!(backend.change_customers(namespace, "a", damaged).await.unwrap());
    let walked: Result<Vec<_>, _> = all_customers(Arc::clone(&backend), namespace).try_collect().await;
    assert!(matches!(walked, Err(BackendError::Corrupt(_))));
}

pub async fn of_many_changes_from_one_state_one_is_made(backend: Arc<dyn Backend>, namespace: &str) {
    let mut before = Periods::default();
    for round in 0..5 {
        let attempts = (0..20).map(|number| {
            let after = periods(&[&format!("cus_{round}"), &format!("by_{number}")]);
            let made = change(&before, &after, format!("{round} {number}").as_bytes());
            let backend = &backend;
            async move { (after, backend.change_customers(namespace, "acme", made).await.unwrap()) }
        });
        let made: Vec<_> = join_all(attempts).await.into_iter().filter(|(_, made)| *made).collect();
        assert_eq!(made.len(), 1, "round {round}");
        before = made[0].0.clone();
        let kept = backend.customers_of(namespace, "acme").await.unwrap().unwrap();
        assert_eq!(Periods::from_bytes(&kept), Some(before.clone()));
    }
    assert_eq!(backend.audit(namespace, None, 100).await.unwrap().len(), 5);
    for number in 0..20 {
        let customer = format!("by_{number}");
        let pays = before.as_slice()[1].customer == customer;
        assert_eq!(consumers(&backend, namespace, Some(&customer), 9).await.len(), usize::from(pays));
    }
}
