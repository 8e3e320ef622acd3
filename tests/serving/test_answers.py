"""What the service answers when all goes well: the same as the model in Python, whoever else asks."""

import http.client
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.inference.explain import explain
from tests.serving.conftest import CLASSES, CONFUSION
from tests.serving.running_service import ask

TEXTS = ["great film", "", "not bad!", "bad " * 900, "😀 do n't é", "good\x00\x07\u202e", "<script>", "a"]


def positive(answer) -> list[float]:
    assert answer.status == 200, answer.body
    return [found["positive_probability"] for found in answer.json["predictions"]]


def test_answers_are_those_of_the_model_in_python(service, predictor):
    answer = service.predict(*TEXTS)
    expected = predictor.predict(TEXTS)
    assert positive(answer) == pytest.approx([p.positive_probability for p in expected], abs=1e-5)
    for found, wanted in zip(answer.json["predictions"], expected, strict=True):
        assert found["label"] == wanted.label
        assert found["truncated"] == wanted.truncated
        assert found["unknown_share"] == pytest.approx(wanted.unknown_share)
        assert found["probability"] == pytest.approx(wanted.probability, abs=1e-5)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
@settings(max_examples=25)
def test_any_text_is_answered_as_in_python(service, predictor, texts):
    """Also halves of surrogate pairs, which JSON can carry."""
    expected = [p.positive_probability for p in predictor.predict(texts)]
    assert positive(service.predict(*texts)) == pytest.approx(expected, abs=1e-5)


def test_neighbours_in_a_batch_do_not_matter(service, predictor):
    """Many clients at once, each with texts of its own: each gets its own answers, in its own order."""
    wrong = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        for turn in range(6):
            texts = [f"{'good ' * number}{'bad ' * place}" for place in range(1 + (number + turn) % 5)]
            got = positive(ask(connection, "POST", "/v1/predict", {"texts": texts}))
            if got != pytest.approx([p.positive_probability for p in expected[tuple(texts)]], abs=1e-5):
                wrong.append((texts, got))
        connection.close()

    expected = {}
    for number in range(12):
        for size in range(1, 6):
            texts = tuple(f"{'good ' * number}{'bad ' * place}" for place in range(size))
            expected[texts] = predictor.predict(texts)
    threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_request_may_be_larger_than_a_batch(service, predictor):
    texts = [f"good {'bad ' * (place % 7)}" for place in range(256)]
    expected = [p.positive_probability for p in predictor.predict(texts)]
    assert positive(service.predict(*texts)) == pytest.approx(expected, abs=1e-5)


def test_words_with_their_places_and_shares(service, predictor):
    texts = ["not 😀 bad", "great film"]
    answer = service.predict(*texts, explain=True)
    assert answer.status == 200, answer.body
    for text, found, wanted in zip(texts, answer.json["predictions"], explain(predictor, texts), strict=True):
        assert [text[word["start"] : word["end"]] for word in found["words"]] == text.split()
        assert found["base"] + sum(word["contribution"] for word in found["words"]) == pytest.approx(
            found["logit"], abs=1e-3
        )
        assert found["logit"] == pytest.approx(wanted.logit, abs=1e-4)
        assert found["positive_probability"] == pytest.approx(
            wanted.prediction.positive_probability, abs=1e-5
        )


def test_the_model_describes_itself(service, model):
    card = service.ask("GET", "/v1/model").json
    assert card["name"] == "critic"
    assert card["digest"] == service.predict("good").json["model"]["digest"]
    assert card["test"]["confusion"] == CONFUSION
    assert card["calibration"][0]["rows"] == 4
    assert card["data"] == {"digest": "d1", "rows": {"train": None, "valid": 100, "test": 100}}
    assert card["limits"] == {
        "texts": 256,
        "characters": 5000,
        "body_bytes": 2**20,
        "explain_texts": 32,
        "explain_characters": 5000,
    }


def test_more_classes_are_answered_by_name(class_services):
    """With the decision of the model, which chooses negative from a probability of 0.3, and without."""
    text = "not film the"
    (decided,) = class_services[3].predict(text).json["predictions"]
    (plain,) = class_services[3].predict(text, thresholds=False).json["predictions"]
    assert decided["probabilities"] == plain["probabilities"]
    assert sum(plain["probabilities"].values()) == pytest.approx(1)
    assert list(plain["probabilities"]) == ["negative", "neutral", "positive"]
    assert (decided["label"], plain["label"]) == ("negative", "neutral")
    assert plain["probability"] == plain["probabilities"]["neutral"] == max(plain["probabilities"].values())
    assert decided["probability"] == decided["probabilities"]["negative"] >= 0.3
    assert decided["positive_probability"] is None
    (stars,) = class_services[5].predict("bad").json["predictions"]
    assert stars["label"] == "unsure"
    mean = sum(int(star) * chance for star, chance in stars["probabilities"].items())
    assert stars["expected_star"] == pytest.approx(mean)


@pytest.mark.parametrize("number", CLASSES)
def test_a_model_describes_its_classes(class_services, number):
    classes, decision = CLASSES[number]
    card = class_services[number].ask("GET", "/v1/model").json
    assert (tuple(card["classes"]), card["kind"]) == (classes.names, classes.kind)
    empty = {"weights": {}, "thresholds": {}, "abstain": {}}
    assert card["thresholds"] == ({**empty, **decision} if decision else None)
    if number == 3:
        (report,) = card["threshold_reports"]
        assert (report["class_name"], report["threshold"], len(report["curve"])) == ("negative", 0.3, 5)
        assert "somebody" not in str(card)  # the path of the data is nobody's business
    scores = card["test"]
    assert np.shape(scores["confusion"]) == (number, number)
    assert list(scores["per_class"]) == list(classes.names)
    assert sum(each["rows"] for each in scores["per_class"].values()) == scores["rows"] == 1000
    assert np.sum(scores["confusion"]) == 1000 - scores["unsure"]
    assert 0.5 < scores["macro_f1"] < 1
    assert scores["majority_share"] < scores["balanced_accuracy"]
    assert (scores["mae"] is None) == (classes.kind != "stars")


def test_it_says_how_it_is(service):
    assert service.ask("GET", "/healthz").json == {"status": "ok"}
    assert service.ask("GET", "/readyz").json == {"status": "ready"}


def test_metrics_count_what_was_done(service):
    value = service.metric
    before = value('sentiscale_texts_total{kind="predict"}')
    service.predict("good", "bad")
    assert value('sentiscale_texts_total{kind="predict"}') == before + 2
    assert value("sentiscale_workers_up") == 1
    assert value("sentiscale_batch_texts_count") > 0
    assert value('sentiscale_process_resident_bytes{process="workers"}') > 10**7
    assert value("sentiscale_http_request_seconds_count") > 0


def test_request_ids_are_taken_or_made_and_logged(service):
    taken = service.ask("GET", "/healthz", headers={"X-Request-ID": "mine.1_a-B"})
    assert taken.headers["x-request-id"] == "mine.1_a-B"
    for refused in ("x" * 65, "a b", 'a"b', ""):
        made = service.ask("GET", "/healthz", headers={"X-Request-ID": refused}).headers["x-request-id"]
        assert made != refused
        assert len(made) == 32
    assert any(event["id"] == "mine.1_a-B" for event in service.events("request"))


def test_the_log_holds_no_review(service):
    service.predict("secretsecret is good")
    service.ask("POST", "/v1/predict", b'{"texts": ["secretsecret"')
    service.ask("POST", "/v1/predict", {"texts": [["secretsecret"]]})
    assert "secretsecret" not in service.log.read_text()


def test_pages_come_with_a_strict_policy(service):
    for path in ("/", "/docs"):
        page = service.ask("GET", path)
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert service.ask("HEAD", path).body == b""
        again = service.ask("GET", path, headers={"If-None-Match": page.headers["etag"]})
        assert (again.status, again.body) == (304, b"")


def test_the_interface_is_documented_without_other_hosts(service):
    page = service.ask("GET", "/docs").body.decode()
    assert "//" not in page.replace("<!DOCTYPE", "")
    described = service.ask("GET", "/openapi.json").json
    assert set(described["paths"]) == {"/v1/predict", "/v1/model", "/healthz", "/readyz", "/metrics"}
    assert "HTTPValidationError" not in json.dumps(described)
    limits = described["components"]["schemas"]["PredictRequest"]["properties"]["texts"]
    assert limits["maxItems"] == 256
    assert limits["items"]["maxLength"] == 5000
