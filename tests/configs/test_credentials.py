"""A secret inside a URI is refused by the name of its field, and never repeated."""

import pytest

from configs.credentials import masked
from configs.errors import ConfigError, StorageError
from configs.loader import load
from configs.settings import SummarizeConfig

SECRET = "wJalrXUt/nFEMI+K7MDENG"
WITH_SECRETS = [
    f"s3://AKIAEXAMPLE:{SECRET}@bucket/in",
    f"https://user:{SECRET}@host/x?a=1",
    f"s3://bucket/in.txt?X-Amz-Algorithm=AWS4&X-Amz-Credential={SECRET}",
    f"s3://bucket/in.txt?x-amz-signature={SECRET}",
    f"s3://bucket/in.txt?X-Amz-Security-Token={SECRET}&x=1",
    f"s3://bucket/in.txt?AWSAccessKeyId={SECRET}",
    f"s3://bucket/in.txt?Expires=1&Signature={SECRET}",
    f"gs://bucket/in.txt?X-Goog-Signature={SECRET}",
    f"abfs://container@account.dfs.core.windows.net/x?sv=2024&sig={SECRET}",
    f"s3://bucket/in.txt?access_token={SECRET}",
    f"s3://bucket/in.txt?client_secret={SECRET}",
    f"s3://bucket/in.txt?api_key={SECRET}",
]
WITHOUT = [
    "s3://bucket/a@b:c/d.txt",
    "s3://bucket/what?.txt",
    "s3://bucket/**/*.txt?",
    "abfs://container@account.dfs.core.windows.net/x",
    "/home/user:name@host/x.txt",
    "sample://python-reference/",
    "s3://bucket/design=1&signatures=2.txt",
]


@pytest.mark.parametrize("field", ["input.sources", "output.uri", "model.uri", "model.tokenizer"])
@pytest.mark.parametrize("uri", WITH_SECRETS)
def test_a_setting_with_credentials_is_refused_by_name_without_repeating_them(field, uri):
    value = f"['{uri}']" if field == "input.sources" else uri
    with pytest.raises(ConfigError, match="there are credentials in this URI") as refusal:
        load(SummarizeConfig, None, ["input.sources=[a]", f"{field}={value}"])
    assert str(refusal.value).startswith(field) and "***" in str(refusal.value)
    assert SECRET not in str(refusal.value) and SECRET not in str(refusal.value.__cause__)


def test_an_override_that_is_no_yaml_does_not_repeat_them_either():
    with pytest.raises(ConfigError, match="not valid YAML") as refusal:
        load(SummarizeConfig, None, [f"input.sources=['{WITH_SECRETS[0]}'"])
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("uri", WITHOUT)
def test_what_holds_none_is_taken_as_it_is(uri):
    assert masked(uri) == uri
    config = load(SummarizeConfig, None, [f"input.sources=['{uri}']", f"output.uri='{uri}'"])
    assert (config.input.sources, config.output.uri) == ((uri,), uri)


@pytest.mark.parametrize("uri", WITH_SECRETS)
def test_no_error_of_ours_repeats_them(uri):
    said = str(StorageError(f"{uri}: cannot be reached (url='{uri}'); check the network"))
    assert SECRET not in said and said.endswith("check the network")
    assert masked(masked(uri)) == masked(uri)
