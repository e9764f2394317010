use crate::statement::tests::{made, one};

use super::*;

const HOSTILE: &str = "</bdi><script>alert(1)</script><img src=//x.example>\"'&\u{202e}";

#[test]
fn hostile_names_are_text_on_a_page_that_loads_and_runs_nothing() {
    let mut statement = made(&[one(HOSTILE, HOSTILE, "pro", 5), one("", HOSTILE, HOSTILE, 5)]);
    statement.seller = Some(HOSTILE.into());
    statement.note = Some(HOSTILE.into());
    statement.invoices[0].sections[0].tier = HOSTILE.into();
    for page in [index(&statement).unwrap(), invoice(&statement, &statement.invoices[0]).unwrap()] {
        for wrong in ["<script", "<img", "\"'&", "\u{202e}", "@import", "url("] {
            assert!(!page.contains(wrong), "{wrong}: {page}");
        }
        assert!(
            page.contains("&#60;script&#62;alert(1)&#60;/script&#62;") && page.contains("\\u{202e}"),
            "{page}"
        );
        assert!(page.contains("default-src 'none'") && page.contains("color-scheme: light"));
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "a page needs nothing from elsewhere"
        );
    }
}

#[test]
fn a_page_shows_the_invoice() {
    let mut statement = made(&[one("cus_1", "acme", "pro", 2_700_000_500)]);
    statement.seller = Some("Example GmbH\nRing 1".into());
    let page = invoice(&statement, &statement.invoices[0]).unwrap();
    for part in [
        "<p>n-2026-11-0001</p>",
        "Example GmbH<br>Ring 1<br>",
        ">0.000333333333<",
        ">166.67<",
        ">-10.00<",
        ">545.67<",
        "acme</bdi> (2700000.5)",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("class=\"draft\""));
    let list = index(&statement).unwrap();
    assert!(list.contains("<a href=\"n-2026-11-0001.html\">") && list.contains(">545.67<"), "{list}");
}

#[test]
fn a_draft_says_so_and_has_no_number() {
    let mut statement = made(&[one("c", "acme", "pro", 5)]);
    statement.status = Status::Draft;
    statement.invoices[0].number = None;
    assert_eq!(name(&statement, 0), "draft-n-2026-11-0001");
    for page in [index(&statement).unwrap(), invoice(&statement, &statement.invoices[0]).unwrap()] {
        assert!(page.contains("class=\"draft\"") && !page.contains("<p>n-2026-11-0001</p>"), "{page}");
    }
}
