"""The composed Kong fits the compose specification."""

import os
import re

import compose_spec
import pytest
import yaml

from manifests import ROOT

FILE = ROOT / "kong/docker-compose.yml"


def parse(text):
    # Variables are replaced first, as compose does.
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: os.environ.get(found[1], found[2]), text)
    return compose_spec.PyCompose.from_yaml(text)


def test_compose_knows_every_field():
    assert set(parse(FILE.read_text()).service_names()) == {"kong", "store", "redis", "upstream"}


BROKEN = [
    (lambda compose: compose.update(sevices={}), "sevices"),
    (lambda compose: compose["services"]["kong"].update(imge="kong:3.9.1"), "imge"),
    (lambda compose: compose["services"]["kong"]["healthcheck"].update(intervall="2s"), "intervall"),
    (
        lambda compose: compose["services"]["store"]["depends_on"]["redis"].update(condition="service_healty"),
        "service_healty",
    ),
    (lambda compose: compose["services"]["store"].update(read_only="maybe"), "read_only"),
]


@pytest.mark.parametrize("break_it, said", BROKEN)
def test_what_compose_does_not_know_is_found(break_it, said):
    compose = yaml.safe_load(re.sub(r"\$\{\w+:-(\d+)\}", r"\1", FILE.read_text()))
    break_it(compose)
    with pytest.raises(Exception, match=said):
        parse(yaml.safe_dump(compose))
