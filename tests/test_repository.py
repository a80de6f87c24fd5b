"""The files that no module imports: workflows, packages' metadata, and the names in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from django_q.plugins import DISTRIBUTIONS

REPOSITORY = Path(__file__).parent.parent
PACKAGES = sorted(REPOSITORY.glob("packages/*"))
WORKFLOWS = sorted(REPOSITORY.glob(".github/workflows/*.yml"))


def project(package: Path) -> dict:
    """Return the metadata of a package."""
    return tomllib.loads((package / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned(workflow):
    uses = re.findall(r"uses: (.*)", workflow.read_text())
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", each)] == []


@pytest.mark.parametrize(
    "file", [*WORKFLOWS, REPOSITORY / ".ci/run", REPOSITORY / "CONTRIBUTING.md"], ids=lambda path: path.stem
)
def test_commands_of_hatch_exist(file):
    environments = tomllib.loads((REPOSITORY / "hatch.toml").read_text())["envs"]
    commands = re.findall(r"hatch\"? run ([\w-]+):([\w-]+)", file.read_text())
    assert commands
    assert [each for each in commands if each[1] not in environments[each[0]].get("scripts", {})] == []


def test_only_the_job_that_publishes_may_publish():
    _, publish = (REPOSITORY / ".github/workflows/release.yml").read_text().split("\n  publish:")
    others = "".join(path.read_text() for path in WORKFLOWS).replace(publish, "")
    assert "id-token: write" in publish
    assert "run:" not in publish
    assert "write" not in others


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_each_extra_of_ours_is_a_package(package):
    names = {each.name for each in PACKAGES}
    ours = {
        name
        for extra in project(package).get("optional-dependencies", {}).values()
        for requirement in extra
        if (name := re.match(r"[\w-]+", requirement)[0]).startswith("django-q-")
    }
    assert ours <= names


def test_hints_name_the_package_of_each_plugin():
    offered = {each.name: project(each).get("entry-points", {}) for each in PACKAGES}
    plugins = {
        plugin: package
        for package, groups in offered.items()
        for group in ("djangoq.brokers", "djangoq.errorreporters")
        for plugin in groups.get(group, {})
    }
    assert plugins == DISTRIBUTIONS


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_metadata_of_the_packages_agree(package):
    own, core = project(package), project(PACKAGES[0].parent / "django-q-core")
    assert own["requires-python"] == core["requires-python"]
    versions = re.compile(r"Framework|Programming Language")
    assert [each for each in own["classifiers"] if versions.match(each)] == [
        each for each in core["classifiers"] if versions.match(each)
    ]


def test_matrix_has_all_versions_of_the_classifiers():
    classifiers = "\n".join(project(PACKAGES[0].parent / "django-q-core")["classifiers"])
    matrix = re.search(r"python: (\[.*\])\n +django: (\[.*\])", (REPOSITORY / ".github/workflows/test.yml").read_text())
    assert re.findall(r"Python :: (3\.\d+)", classifiers) == re.findall(r"[\d.]+", matrix[1])
    assert re.findall(r"Django :: (\d\.\d)", classifiers) == re.findall(r"[\d.]+", matrix[2])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_readmes_have_the_same_form(package):
    headings = re.findall(r"^## (.*)", (package / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:3] == ["Install", "Configure", "Guarantees"]
    assert headings[-1] == "Read on"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_release_finds_the_relative_links(package):
    """`.ci/release` replaces these beginnings by the address of the repository."""
    links = re.findall(r"\]\((?!\w+:|#)([^)]+)\)", (package / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [each for each in links if not each.startswith("../../")] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_version_is_defined_once(package):
    [about] = package.glob("src/*/__about__.py")
    version = re.search(r'__version__ = "(.*)"', about.read_text())[1]
    files = [path for path in package.rglob("*.py") if path != about] + [package / "pyproject.toml"]
    assert [str(path) for path in files if f'"{version}"' in path.read_text(encoding="utf-8")] == []
    assert re.search(r"^## (\S+)", (package / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version


def test_paths_of_the_tests_on_other_databases_exist():
    paths = (REPOSITORY / ".ci/database-tests").read_text().split()
    assert [each for each in paths if not (REPOSITORY / each).exists()] == []
