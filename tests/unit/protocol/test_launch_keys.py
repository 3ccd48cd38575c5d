"""The keys of [launch] for containers: what is read, and how each mistake is reported."""

import pytest

from wattline_protocol.job.file import JobFileError, job_from_options, parse_job
from wattline_protocol.job.spec import Launch

SERVICE = 'name = "s"\nkind = "service"\nservice.http = {}\n'


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('launch.image = "--privileged"', "expected the name of an image"),
        ('launch.image = "docker-archive:/etc/x"', "expected the name of an image"),
        (f'launch.image = "{"a/" * 127}aa"', "expected the name of an image"),
        ('launch.how = "container"', "set launch.image as well"),
        ('launch.image = "localhost/a"', 'image is for how = "container"'),
        (f'{SERVICE}launch = {{ how = "container", image = "a" }}', "no part of the image"),
    ],
)
def test_each_mistake_is_refused_with_what_would_be_right(lines: str, said: str) -> None:
    with pytest.raises(JobFileError, match=said) as refused:
        parse_job(f'command = ["x"]\n{lines}\n', "job.toml")
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    "image", ["a", "registry.example:5000/team/train:v3", f"localhost/a@sha256:{'0' * 64}"]
)
def test_the_flag_for_an_image_is_enough_for_a_container(image: str) -> None:
    assert job_from_options(command="x", image=image).launch == Launch("container", image=image)
