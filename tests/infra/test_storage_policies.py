"""The policies of infra/storage allow what ganray asks of a store, and nothing else."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import boto3
import pytest
import requests
import yaml
from moto import mock_aws
from moto.server import ThreadedMotoServer

from ganray.errors import AccessDeniedError
from ganray.storage import open_store
from ganray.storage.s3_errors import PERMISSIONS
from tests.infra.manifests import ROOT, of_kind, rendered
from tests.infra.production import EXAMPLES, job_of
from tests.integration.command import ganray_here
from tests.integration.pictures import encoded

POLICIES = ROOT / "infra" / "storage"
NEEDED = {
    "list_objects_v2": {"s3:ListBucket"},
    "head_object": {"s3:GetObject"},
    "get_object": {"s3:GetObject"},
    "put_object": {"s3:PutObject"},
    "create_multipart_upload": {"s3:PutObject"},
    "upload_part": {"s3:PutObject"},
    "upload_part_copy": {"s3:PutObject", "s3:GetObject"},
    "complete_multipart_upload": {"s3:PutObject"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "list_multipart_uploads": {"s3:ListBucketMultipartUploads"},
    "delete_object": {"s3:DeleteObject"},
}
"""The permissions of S3's calls, as its reference has them."""
READ = {"s3:ListBucket", "s3:GetObject"}
MODEL = ROOT / "ganray" / "models" / "weights" / "compact-x2.safetensors"


def statements(name: str) -> list[dict[str, object]]:
    return list(json.loads((POLICIES / name).read_text())["Statement"])


def actions(name: str, bucket: str) -> set[str]:
    """What a policy allows on one bucket."""
    allowed: set[str] = set()
    for statement in statements(name):
        if any(bucket in resource for resource in _listed(statement["Resource"])):
            allowed.update(_listed(statement["Action"]))
    return allowed


def _listed(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


def calls_of_storage() -> set[str]:
    sources = (ROOT / "ganray" / "storage").glob("*.py")
    text = "".join(source.read_text() for source in sources)
    return set(re.findall(r"\bs3\.([a-z_0-9]+)\(", text))


def test_the_permissions_of_every_call_are_known() -> None:
    assert calls_of_storage() == set(NEEDED)
    assert set(PERMISSIONS.values()) == set().union(*NEEDED.values())


@pytest.mark.parametrize(
    ("policy", "source", "target"),
    [
        ("restore-policy.json", "my-archive", "my-restored"),
        ("train-policy.json", "my-archive", "my-models"),
    ],
)
def test_a_policy_allows_the_calls_that_ganray_makes_and_no_other(
    policy: str, source: str, target: str
) -> None:
    assert actions(policy, target) == set().union(*NEEDED.values())
    assert actions(policy, source) == READ


def test_the_buckets_are_those_of_the_manifests() -> None:
    for overlay, policy in (("restore", "restore-policy.json"), ("train", "train-policy.json")):
        (job,) = of_kind(rendered(overlay), "RayJob")
        text = (POLICIES / policy).read_text()
        for uri in re.findall(r"=s3://(\S+)", job["spec"]["entrypoint"]):
            assert f"arn:aws:s3:::{uri}/*" in text


POLICY_OF = {
    "restore": "restore-policy.json",
    "nightly": "restore-policy.json",
    "train": "train-policy.json",
    "shard": "train-policy.json",
    "evaluate": "train-policy.json",
    "promote": "train-policy.json",
}
"""Of the examples; the others restore other archives, and need policies of their own."""
WRITTEN = {"target", "output", "registry"}


def allowed_on(policy: str, resource: str) -> set[str]:
    """What a policy allows on one resource."""
    return {
        action
        for statement in statements(policy)
        if any(fnmatchcase(resource, pattern) for pattern in _listed(statement["Resource"]))
        for action in _listed(statement["Action"])
    }


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            yield from _strings(item)


def test_every_job_has_a_policy() -> None:
    assert {job_of(example) for example in EXAMPLES} == set(POLICY_OF)


@pytest.mark.parametrize("name", sorted(POLICY_OF))
def test_a_policy_allows_what_the_example_reads_and_writes(name: str) -> None:
    policy = POLICY_OF[name]
    (example,) = [example for example in EXAMPLES if example.stem == name]
    fields = yaml.safe_load(example.read_text())
    uris = [(field, uri) for field, value in fields.items() for uri in _strings(value)]
    named = [(field, uri.removeprefix("s3://")) for field, uri in uris if uri.startswith("s3://")]
    assert named
    for field, place in named:
        is_file = bool(Path(place).suffix)
        objects = allowed_on(policy, f"arn:aws:s3:::{place}" + ("" if is_file else "/a/b.png"))
        bucket = allowed_on(policy, f"arn:aws:s3:::{place.partition('/')[0]}")
        needed = set().union(*NEEDED.values()) if field in WRITTEN else READ
        assert needed <= objects | bucket, place
        assert "s3:GetObject" in objects, place


def test_the_role_trusts_the_accounts_of_the_pods() -> None:
    manifests = rendered("nightly")
    roles = {
        account["metadata"]["name"]: account["metadata"].get("annotations", {})
        for account in of_kind(manifests, "ServiceAccount")
    }
    (statement,) = statements("trust-eks.json")
    ((_, trusted),) = [
        item
        for item in statement["Condition"]["StringEquals"].items()  # type: ignore[index]
        if item[0].endswith(":sub")
    ]
    with_role = [name for name, annotations in roles.items() if annotations]
    assert sorted(trusted) == [f"system:serviceaccount:ganray:{name}" for name in sorted(with_role)]


@pytest.fixture
def restoring_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 that enforces policies, and credentials of a user with exactly that of restoring."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "admin")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "admin")
    _fill(boto3.session.Session())
    key = _user(boto3.session.Session())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    _enforce(url, 0)
    yield
    _enforce(url, float("inf"))
    # Its state outlives a server.
    requests.post(f"{url}/moto-api/reset", timeout=10)
    server.stop()


def _fill(session: boto3.session.Session) -> None:
    s3 = session.client("s3")
    for bucket in ("my-archive", "my-restored", "my-models"):
        s3.create_bucket(Bucket=bucket)
    for number in range(2):
        key = f"photos/{number}.png"
        s3.put_object(Bucket="my-archive", Key=key, Body=encoded(48, 48, seed=number))
    s3.put_object(Bucket="my-archive", Key="secret/payroll.txt", Body=b"private")
    s3.put_object(Bucket="my-restored", Key="other/kept.txt", Body=b"kept")
    s3.put_object(Bucket="my-models", Key="x2.safetensors", Body=MODEL.read_bytes())


def _user(session: boto3.session.Session) -> dict[str, str]:
    iam = session.client("iam")
    iam.create_user(UserName="ganray")
    document = (POLICIES / "restore-policy.json").read_text()
    iam.put_user_policy(UserName="ganray", PolicyName="restore", PolicyDocument=document)
    return dict(iam.create_access_key(UserName="ganray")["AccessKey"])


def _enforce(url: str, num_free_requests: float) -> None:
    requests.post(f"{url}/moto-api/reset-auth", data=str(num_free_requests), timeout=10)


@pytest.mark.usefixtures("restoring_user")
def test_an_archive_is_restored_and_verified_under_exactly_that_policy() -> None:
    target = "s3://my-restored/photos"
    words = ["source=s3://my-archive/photos", "generator=s3://my-models/x2.safetensors"]
    restored = ganray_here("restore", *words, f"target={target}", "workers.max=0")
    assert restored.code == 0, restored.text
    assert "restored 2" in restored.text
    verified = ganray_here("verify", target)
    assert verified.code == 0, verified.text
    assert "2 inputs audited" in verified.text


@pytest.mark.usefixtures("restoring_user")
def test_large_outputs_are_put_together_under_exactly_that_policy() -> None:
    target = open_store("s3://my-restored/photos")
    part = b"p" * (5 << 20)
    target.write("staging/part", part)
    with target.multipart("large.tif") as upload:
        upload.upload(1, part)
        upload.copy(2, "staging/part", 0, len(part))
    assert target.stat("large.tif").num_bytes == 2 * len(part)
    target.delete("staging/part")
    with pytest.raises(RuntimeError, match="stop"), target.multipart("large.tif") as upload:
        upload.upload(1, part)
        raise RuntimeError("stop")
    assert target.abort_unfinished() == 0


@pytest.mark.usefixtures("restoring_user")
def test_nothing_else_is_allowed() -> None:
    archive, models = open_store("s3://my-archive/photos"), open_store("s3://my-models")
    for store in (archive, models):
        with pytest.raises(AccessDeniedError):
            store.write("0.png", b"")
        with pytest.raises(AccessDeniedError):
            store.delete("0.png")
    with pytest.raises(AccessDeniedError):
        open_store("s3://my-archive/secret").read("payroll.txt")
    beside = open_store("s3://my-restored/other")
    with pytest.raises(AccessDeniedError):
        beside.read("kept.txt")
    with pytest.raises(AccessDeniedError):
        beside.write("kept.txt", b"")
    with pytest.raises(AccessDeniedError):
        beside.delete("kept.txt")


@mock_aws
def test_a_bucket_takes_its_settings() -> None:
    s3 = boto3.session.Session(region_name="us-east-1").client("s3")
    s3.create_bucket(Bucket="my-restored")
    rules = json.loads((POLICIES / "lifecycle.json").read_text())
    s3.put_bucket_lifecycle_configuration(Bucket="my-restored", LifecycleConfiguration=rules)
    kept = s3.get_bucket_lifecycle_configuration(Bucket="my-restored")["Rules"]
    assert kept[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    encryption = json.loads((POLICIES / "encryption.json").read_text())
    s3.put_bucket_encryption(Bucket="my-restored", ServerSideEncryptionConfiguration=encryption)
    found = s3.get_bucket_encryption(Bucket="my-restored")["ServerSideEncryptionConfiguration"]
    key = found["Rules"][0]["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    assert statements("kms-policy.json")[0]["Resource"] == key
