"""Makes the hash-pinned requirement files from pyproject.toml. They name packages and hashes, never an index."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "dev": ["--extra", "local", "--extra", "dev", "pyproject.toml"],
    "lambda": ["--group", "lambda"],
    "lambda-runtime": ["--group", "lambda-runtime"],
    "bootstrap": ["--group", "bootstrap"],
    "bench": ["--group", "bench"],
}


def main() -> None:
    uv = Path(sys.executable).parent / "uv"
    for name, source in FILES.items():
        subprocess.run(
            [
                *(str(uv), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
                *("--generate-hashes", "--no-header", "--upgrade", *source),
                *("--output-file", f"requirements/{name}.txt"),
            ],
            cwd=ROOT,
            check=True,
        )


if __name__ == "__main__":
    main()
