"""The service as its users meet it: in a browser, by the clients of the queue and of the catalogue, at its end."""

import json
import os
import re
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from bluesky_queueserver_api import BPlan
from browsers import chromium, page_of
from pages import unpack
from playwright.sync_api import expect
from services import STARTED, serving, until
from tiled.client import from_uri

from beamline.serve.page.live import load
from beamline.serve.supervisor import lives
from beamline.storage.layout import Layout
from beamline.storage.runs import Runs

pytestmark = pytest.mark.long

TOLD = ("starting", "ready", "ending", "ended")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service")) as (service, _process):
        until(lambda: all(service.parts().get(name, {}).get("state") == "running" for name in STARTED), timeout=120)
        yield service


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


def fill(page, plan, **values):
    page.click("#tab-queue")
    page.select_option("#plan", plan)
    for name, value in values.items():
        page.fill(f"#field-{name}", value)


@pytest.fixture(scope="module")
def measured(service, browser):
    """A map that is queued by the page while somebody looks at it, and what was seen meanwhile."""
    with page_of(service, browser, "user") as page:
        fill(page, "rixs_map", regions="526:542:2", exposure_time="900", sample="LRNMC 311 mAh/g", edge=HOSTILE)
        page.click("button[value=add]")
        expect(page.locator(".answer.good")).to_contain_text("Queued: 9 frames")
        page.click("text=Start the queue")
        page.click("#tab-live")
        expect(page.locator("#state")).to_have_text("Measuring", timeout=60_000)
        seen = set()
        until(
            lambda: (
                seen.add(page.inner_text("#live figure[data-name=raw] h3")) or len(seen) > 1
                if page.locator("#live figure[data-name=raw]").count()
                else False
            )
        )
        expect(page.locator("#state")).to_have_text("Idle", timeout=60_000)
        expect(page.locator("#done")).to_have_text("9 of 9")
    return until(lambda: next(iter(Runs(service.folder).raw()), None))


def test_the_live_view_moves_while_a_scan_runs_and_its_values_are_those_of_the_data(service, browser, measured):
    runs = Runs(service.folder)
    until(lambda: (pair := runs.load_with_derived(measured.uid))[1] and pair[1].result)
    _, derived = load(runs, measured)
    intensity = np.asarray(derived.result("map"))
    with page_of(service, browser, "viewer") as page:
        canvas = page.locator("#live figure[data-name=map] canvas")
        readout = page.locator("#live figure[data-name=map] .readout")

        def shows_the_data():  # at first it may show what was drawn before the reduction ended
            canvas.scroll_into_view_if_needed()
            box = canvas.bounding_box()
            page.mouse.move(box["x"] + 200, box["y"] + 100)
            told = readout.evaluate("each => ({...each.dataset})")
            value = intensity[int(told["row"]), int(told["column"])]
            return float(told["value"]) == pytest.approx(value, rel=1e-6) and (readout.inner_text(), value)

        text, value = until(shows_the_data)
        assert float(text.rpartition(": ")[2].split()[0]) == pytest.approx(value, rel=1e-5)
    figures = service.session("viewer").get(f"/api/runs/{measured.uid}/figures")
    np.testing.assert_array_equal(unpack_all(figures.content)["map"]["values"], intensity.astype(np.float32))


def unpack_all(content):
    """Read several panels as the page does."""
    found = {}
    while content:
        length = int.from_bytes(content[:4], "little")
        head, arrays = unpack(content[4 : 4 + length])
        found[head["name"]] = arrays
        content = content[4 + length :]
    return found


def test_hostile_text_of_the_data_is_text(service, browser, measured):
    with page_of(service, browser, "viewer") as page:
        expect(page.locator("#what")).to_contain_text(HOSTILE)
        page.click("#tab-runs")
        expect(page.locator("tr.pick").first).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0


def test_a_past_run_opens_in_the_same_views_and_its_report_is_handed_out(service, browser, measured):
    with page_of(service, browser, "viewer") as page:
        page.click("#tab-runs")
        page.fill("input[name=technique]", "rixs")
        page.locator("tr.pick").first.click()
        for name in ("raw", "spectrum", "map", "elastic", "drift"):
            expect(page.locator(f"#runs figure[data-name={name}]")).to_be_visible(timeout=60_000)
        with page.expect_download() as report:
            page.click("text=Report")
        assert report.value.suggested_filename.endswith(".html")
        page.fill("input[name=status]", "success")
        expect(page.locator("#runs tr.pick")).to_have_count(1)
        page.fill("input[name=technique]", "nothing like it")
        expect(page.locator("#runs tbody").first).to_contain_text("No run is like this")


def test_a_run_is_reduced_again_from_the_page_and_compared(service, browser, measured):
    with page_of(service, browser, "user") as page:
        page.click("#tab-runs")
        page.fill("input[name=technique]", "rixs")
        page.locator("tr.pick").first.click()
        page.click("text=Reduce again with other settings")
        field = page.locator("form.settings input[name='cosmic_rays.threshold']")
        field.fill("-1")
        page.click("form.settings:not(.print) button")
        expect(page.locator("form.settings:not(.print) .answer.bad")).to_contain_text(
            "cosmic_rays.threshold", timeout=60_000
        )
        field.fill("9")
        page.click("form.settings:not(.print) button")
        other = page.locator("#runs figure[data-name=other-map]")
        # A process starts, reduces, and waits up to 60 s for the catalogue.
        expect(other).to_be_visible(timeout=180_000)
        expect(page.locator("#runs figure[data-name=spectrum] .u-legend")).to_contain_text("newest reduction")
    assert len([entry for entry in Runs(service.folder).entries() if entry.reduction_of == measured.uid]) == 2


def test_several_samples_and_edges_are_queued_one_after_the_other_and_samples_are_offered(service, browser):
    with page_of(service, browser, "user") as page:
        fill(page, "xas", regions="O K=525:545:0.5; Co L3=775:785:0.5", sample="LRNMC 311 mAh/g; LRNMC pristine")
        expect(page.locator("#samples option[value='LRNMC pristine']")).to_have_count(1, timeout=60_000)
        page.click("button[value=add]")
        expect(page.locator("#queue")).to_contain_text("Next (4)", timeout=60_000)
    client = service.client("user")
    items = [item["kwargs"] for item in client.queue_get(reload=True)["items"]]
    assert [(item["edge"], item["sample"]) for item in items] == [
        (edge, sample) for sample in ("LRNMC 311 mAh/g", "LRNMC pristine") for edge in ("O K", "Co L3")
    ]
    client.queue_clear()


def test_of_several_samples_of_which_one_is_not_there_none_is_queued(service, browser):
    with page_of(service, browser, "user") as page:
        fill(page, "xas", regions="525:545:0.5", sample="LRNMC 311 mAh/g; nothing like it")
        page.click("button[value=add]")
        expect(page.locator(".answer.bad").last).to_contain_text("nothing like it: sample: holds no", timeout=60_000)
        expect(page.locator(".answer.bad").last).to_contain_text("none is queued")
        expect(page.locator("#queue")).to_contain_text("Next (0)")


def test_what_is_no_longer_in_the_queue_is_said_in_words(service):
    answer = service.session("user").post("/api/queue", json={"do": "remove", "uid": "gone"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "this plan is no longer in the queue: it has begun, or somebody took it out"


def test_an_abort_of_a_plan_that_has_ended_leaves_the_one_that_came_after_it_alone(service, measured):
    session = service.session("user")

    def ask(**asked):
        return session.post("/api/queue", json=asked)

    with closing(service.client("user")) as client:
        values = [{"regions": "520:620:0.1", "exposure_time": "900"}]
        assert ask(do="add", plan="rixs_map", values=values).status_code == 200
        assert ask(do="start").status_code == 200
        until(lambda: client.status(reload=True)["re_state"] == "running")
        refused = ask(do="abort", uid="of the plan before")
        assert (refused.status_code, client.status(reload=True)["re_state"]) == (400, "running")
        assert refused.json()["detail"].startswith("what you meant to abort has ended")
        uid = client.queue_get(reload=True)["running_item"]["item_uid"]
        assert ask(do="abort", uid=uid).status_code == 200
        assert client.queue_get(reload=True)["items"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/check", "[" * 100_000, 400, "expected JSON"),
        ("/login", "[" * 100_000, 400, "expected JSON"),
        ("/login", r'{"key": "\ud800"}', 401, "this is no key of this service"),
        ("/api/queue", '{"do": "replace", "plan": "xas", "values": [{"regions": "525"}]}', 400, "uid: expected"),
        ("/api/check", '{"plan": "xas", "values": [{"regions": "525"}, {"regions": "x"}]}', 400, "plan 2 of 2: energy"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(service, path, body, status, said):
    answer = service.session("user").post(path, content=body)
    assert (answer.status_code, answer.json()["detail"][: len(said)]) == (status, said)


@pytest.mark.parametrize("last", ["\N{SUPERSCRIPT TWO}", "9" * 5000])
def test_a_number_of_runs_that_is_none_lists_as_many_as_where_nothing_is_said(service, last):
    session = service.session("viewer")
    assert session.get("/api/runs", params={"last": last}).json() == session.get("/api/runs").json()


def test_who_signs_out_is_out_also_with_a_copy_of_the_cookie_and_a_socket_that_is_open(service, browser):
    with page_of(service, browser, "viewer") as page:
        (cookie,) = page.context.cookies()
        copied = service.opened.enter_context(
            httpx.Client(base_url=service.address("page"), cookies={cookie["name"]: cookie["value"]})
        )
        assert copied.get("/api/runs").status_code == 200
        other = page.context.new_page()
        other.goto(service.address("page"))
        expect(other.locator("#who")).to_have_text("viewer")
        page.click("#sign-out")
        expect(page.locator("#key")).to_be_visible()
        expect(other.locator("#key")).to_be_visible()
        assert copied.get("/api/runs").status_code == 401


def test_a_form_refuses_with_the_reason_and_says_how_long_what_it_takes_will_be(service, browser):
    with page_of(service, browser, "user") as page:
        fill(page, "xas", regions="52:54:0.5")
        page.click("button[value=check]")
        expect(page.locator(".answer.bad").last).to_contain_text("52 eV is outside its limits 200 to 1500 eV")
        page.fill("#field-regions", "525:545:0.5")
        page.click("button[value=check]")
        expect(page.locator(".answer.good")).to_contain_text("Can be measured: 41 points")
        expect(page.locator("#queue")).to_contain_text("Next (0)")


def test_a_viewer_sees_and_cannot_queue(service, browser):
    with page_of(service, browser, "viewer") as page:
        page.click("#tab-queue")
        for button in ("text=Start the queue", "button[value=check]", "button[value=add]", "button[value=front]"):
            expect(page.locator(button)).to_be_disabled()
    client = service.session("viewer")
    order = {"do": "add", "plan": "xas", "values": [{"regions": "525:545:0.5"}]}
    assert client.post("/api/queue", json=order).status_code == 403
    assert client.get("/api/runs").status_code == 200
    assert httpx.get(f"{service.address('page')}/api/runs").status_code == 401


@pytest.mark.parametrize("path", ["/api/plans/existing", "/api/auth/whoami", "/api/status"])
def test_the_interface_of_the_queue_answers_nobody_without_a_key(service, path):
    address = service.address("queue")
    assert httpx.get(address + path).status_code == 401
    assert httpx.get(address + path, headers={"authorization": "Bearer nothing"}).status_code == 401
    form = {"username": "viewer", "password": service.key("viewer")}
    token = httpx.post(f"{address}/api/auth/provider/keys/token", data=form).json()["access_token"]
    assert httpx.get(address + path, headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_what_comes_from_another_page_or_names_another_host_is_refused(service):
    client = service.session("operator")
    order = {"do": "start"}
    assert client.post("/api/queue", json=order, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/runs", headers={"host": "evil.example"}).status_code == 403
    answer = client.get("/")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    cookie = client.post("/login", json={"key": service.key("user")}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_abort_asks_and_what_becomes_of_the_item_is_a_choice(service, browser):
    with page_of(service, browser, "user") as page:
        fill(page, "rixs_map", regions="526:546:0.5", exposure_time="1000", sample="LRNMC 311 mAh/g", edge="O K")
        page.click("button[value=add]")
        expect(page.locator(".answer.good")).to_contain_text("Queued")
        page.click("text=Start the queue")
        expect(page.locator("#state")).to_have_text("Measuring", timeout=60_000)
        page.click("#queue button.danger")
        expect(page.locator("#ask")).to_be_visible()
        page.click("#ask >> text=Let it run")
        expect(page.locator("#state")).to_have_text("Measuring")
        page.click("#queue button.danger")
        page.click("#ask >> text=Abort, and drop it")
        expect(page.locator("#state")).to_have_text("Idle", timeout=60_000)
        expect(page.locator("#queue")).to_contain_text("Next (0)")
        expect(page.locator("#what")).to_contain_text("abort")


def test_the_page_comes_back_by_itself_when_its_server_is_started_again(service, browser):
    with page_of(service, browser, "viewer") as page:
        expect(page.locator("#state")).to_have_text("Idle")
        before = service.parts()["page"]
        os.kill(before["pid"], signal.SIGKILL)
        expect(page.locator("#state")).to_have_text("No connection", timeout=60_000)
        expect(page.locator("#state")).to_have_text("Idle", timeout=60_000)
        assert service.parts()["page"]["restarts"] == before["restarts"] + 1


def test_when_the_worker_is_killed_its_run_is_closed_and_reduced_and_its_plan_is_first_in_the_queue_again(service):
    runs, client = Runs(service.folder), service.client("operator")
    known = {entry.uid for entry in runs.raw()}
    client.item_add(BPlan("rixs_map", "526:546:0.5", 900.0, sample="LRNMC 311 mAh/g", edge="O K"))
    client.queue_start()
    uid = until(lambda: next((entry.uid for entry in runs.raw() if entry.uid not in known), None))
    until(lambda: len(runs.load(runs.find(uid)).streams.get("primary", ())) >= 2)
    queue = psutil.Process(service.parts()["queue"]["pid"])
    logs = Layout(service.folder).logs
    worker = next(
        one
        for one in queue.children(recursive=True)
        if any(Path(each.path).parent == logs for each in one.open_files())
    )
    worker.kill()
    stop = until(lambda: runs.load(runs.find(uid)).stop)
    assert stop["exit_status"] == "abort"
    assert stop["num_events"]["primary"] >= 2
    until(lambda: (derived := runs.load_with_derived(uid)[1]) is not None and derived.stop)
    until(lambda: client.status(reload=True)["re_state"] == "idle")
    assert client.status(reload=True)["manager_state"] == "idle"
    assert [item["name"] for item in client.queue_get(reload=True)["items"]] == ["rixs_map"]
    client.queue_clear()


def test_clients_of_the_queue_may_do_what_their_role_may_and_plans_are_checked_first(service):
    viewer, user = service.client("viewer"), service.client("user")
    plan = BPlan("xas", "525:545:0.5", dwell=1.0)
    with pytest.raises(Exception, match="Not enough permissions"):
        viewer.item_add(plan)
    wrong = BPlan("xas", "52:54:0.5")
    with pytest.raises(Exception, match="Not enough permissions"):  # and no check is made for him
        viewer.item_add(wrong)
    for refused in (lambda: user.item_add(wrong), lambda: user.item_add_batch([plan, wrong])):
        with pytest.raises(Exception, match="52 eV is outside its limits"):
            refused()
    assert viewer.queue_get(reload=True)["items"] == []
    for role in ("user", "operator"):
        with pytest.raises(Exception, match="Not enough permissions"):
            service.client(role).script_upload("print(1)")
    uid = user.item_add(plan)["item"]["item_uid"]
    assert [item["item_uid"] for item in viewer.queue_get(reload=True)["items"]] == [uid]
    user.item_remove(uid=uid)


def test_the_catalogue_is_read_with_a_key_and_nothing_else(service, measured):
    address = f"{service.address('catalogue')}/api/v1"
    assert httpx.get(f"{address}/search/").status_code == 401
    assert httpx.get(f"{service.address('catalogue')}/docs").status_code == 404
    catalogue = from_uri(address, api_key=service.key("viewer"))
    service.opened.callback(catalogue.context.http_client.close)
    until(lambda: measured.uid in catalogue["raw"])
    documents = list(catalogue["raw"][measured.uid].documents())
    assert [name for name, _ in documents][:2] == ["start", "descriptor"]
    with pytest.raises(Exception, match=r"401|403|405"):
        catalogue.create_container("mine")


def test_a_campaign_is_queued_part_by_part_each_once(service, tmp_path):
    file, runs = tmp_path / "one.toml", Runs(service.folder)
    file.write_text(
        'name = "one sample"\nsamples = ["LRNMC 311 mAh/g"]\n[spectra]\nregions = "520:526:1, 526:550:0.5"\n'
        '[[then]]\nplan = "rixs_map"\nexposure_time = 100.0\n'
    )

    def queued():
        command = ["beamline", "campaign", file, "--queue", "--yes", "--json", "--data-dir", service.folder]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    assert queued()["queued"] == ["xas of LRNMC 311 mAh/g"]
    again = queued()
    assert (again["queued"], again["waiting"], again["report"]) == ([], 1, "")
    user = service.client("user")
    user.queue_start()
    until(lambda: is_reduced(runs, "one sample"), timeout=90)
    assert queued()["queued"] == ["rixs_map of LRNMC 311 mAh/g"]
    items = user.queue_get(reload=True)["items"]
    assert [(item["name"], item["meta"]["campaign"]["part"]) for item in items] == [("rixs_map", 1)]
    assert items[0]["kwargs"]["regions"] in file.with_suffix(".energies.toml").read_text()
    user.item_remove(uid=items[0]["item_uid"])


def is_reduced(runs, campaign):
    measured = [entry for entry in runs.raw() if (entry.start.get("campaign") or {}).get("name") == campaign]
    return bool(measured and (pair := runs.load_with_derived(measured[-1].uid))[1] and pair[1].result)


def test_nothing_listens_beyond_loopback(service):
    for port in [*service.ports.values(), int((service.folder / "service" / "redis.port").read_text())]:
        with socket.socket() as one:
            one.settimeout(2)
            assert one.connect_ex(("127.0.0.1", port)) == 0
        own = socket.gethostbyname(socket.gethostname())
        if not own.startswith("127."):
            with socket.socket() as other:
                other.settimeout(2)
                assert other.connect_ex((own, port)) != 0


def test_secrets_are_in_no_command_no_log_and_no_readable_file(service):
    text = (service.folder / "service" / "keys.toml").read_text()
    secrets = [
        line.split('"')[1] for line in text.splitlines() if line.startswith(("key = ", "redis", "cookies", "queue"))
    ]
    assert len(secrets) == 6
    for process in psutil.process_iter(["cmdline"]):
        assert not any(secret in " ".join(process.info["cmdline"] or ()) for secret in secrets)
    folder = service.folder / "service"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.glob("*.log"):
        assert not any(secret in path.read_text() for secret in secrets)


def test_a_second_service_in_the_folder_is_refused(service, tmp_path):
    command = ["beamline", "serve", "--data-dir", str(service.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("another `beamline serve` works here; `beamline status` tells of it")


def processes_of(folder):
    """Give the commands that name a folder."""
    return [
        each.info["cmdline"] for each in psutil.process_iter(["cmdline"]) if str(folder) in str(each.info["cmdline"])
    ]


def test_for_one_user_there_is_an_engine_in_place_of_the_queue_and_nothing_is_left_at_the_end(tmp_path, browser):
    with serving(tmp_path, "--single") as (service, _process):
        until(lambda: all(service.parts().get(name, {}).get("state") == "running" for name in ("engine", "page")))
        pids = [part["pid"] for part in service.parts().values()]
        with page_of(service, browser, "user") as page:
            fill(page, "xas", regions="525:545:0.5", sample="LRNMC 311 mAh/g")
            page.click("button[value=add]")
            expect(page.locator("#queue")).to_contain_text("completed", timeout=60_000)
            expect(page.locator("#state")).to_have_text("Idle")
    assert not any(lives(pid) for pid in pids)
    assert not processes_of(tmp_path)
    words = [re.split("[;:]", line)[0] for line in (tmp_path / "serve.out").read_text().splitlines()]
    assert [word for word in words if word in TOLD] == list(TOLD)
    assert len(Runs(service.folder).raw()) == 1
