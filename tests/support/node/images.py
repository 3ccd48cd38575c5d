"""A store of container images for tests: one image from scratch with one static program."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from wattline_agent.executor.launchers.container import find_podman
from wattline_protocol.site.containers import Containers

IMAGE = "localhost/tiny"
RUNTIME = "runc"
"""crun refuses hosts with hybrid control groups."""
PROGRAM = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void show(void) {
    char line[256], folder[4096];
    FILE *status = fopen("/proc/self/status", "r"), *made = fopen("made", "w");
    printf("cwd %s\nseed %s\n", getcwd(folder, sizeof folder), getenv("SEED"));
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "Cap", 3) || !strncmp(line, "NoNew", 5)) fputs(line, stdout);
    if (!made || fputs("made\n", made) < 0 || fclose(made)) exit(9);
}

static void secret(void) {
    char path[4096], held[256] = "", *value = getenv("KEY");
    snprintf(path, sizeof path, "%s/KEY", getenv("WATTLINE_SECRETS_DIR"));
    FILE *file = fopen(path, "r");
    if (!value || !file || !fgets(held, sizeof held, file)) exit(8);
    puts(strcmp(value, held) ? "differs" : "same");
    for (;;) pause();
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    int number = count > 2 ? atoi(words[2]) : 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(what, "show")) show();
    else if (!strcmp(what, "secret")) secret();
    else if (!strcmp(what, "raise")) raise(number);
    else if (!strcmp(what, "wait")) {
        if (fork() == 0) { setsid(); puts("child"); }
        else puts("ready");
        for (;;) pause();
    }
    return number;
}
"""


def image_store(folder: Path) -> Containers:
    """How tasks find the image in a store below `folder`; skips where there is no podman."""
    if not find_podman() or shutil.which(RUNTIME) is None:
        pytest.skip(f"containers need podman and {RUNTIME} (apt install podman {RUNTIME})")
    (folder / "tiny.c").write_text(PROGRAM)
    binary = folder / "tiny"
    compiler = ["cc", "-static", "-Os", "-o", str(binary), str(folder / "tiny.c")]
    subprocess.run(compiler, check=True, timeout=60)
    with tarfile.open(folder / "tiny.tar", "w") as tar:
        tar.add(binary, "tiny")
        for name in ("proc", "sys", "dev", "etc", "tmp"):
            place = tarfile.TarInfo(name)
            place.type, place.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(place, io.BytesIO())
    store = folder / "images"
    command = ["podman", f"--root={store}", f"--runroot={folder}/run", "--storage-driver=overlay"]
    command += ["--cgroup-manager=cgroupfs", f"--runtime={RUNTIME}"]
    command += ["import", "-q", str(folder / "tiny.tar"), IMAGE]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    return Containers(RUNTIME, str(store))
