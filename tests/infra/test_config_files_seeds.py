"""Do the configurations that the requirement shows work as they are written, but for what this version lacks?"""

from pathlib import Path

from headrace import assembly
from headrace.domain.registry import PipelineRef
from headrace.infra.config_files import WorkspaceFiles

MAIN = """\
framework:
  name: "Generic AI Inference Framework"
  version: "1.0.0"
  debug: false

api:
  host: "0.0.0.0"
  port: 8000
  cors_origins: ["*"]

models:
  directory: "./models"
  default_adapter: "pytorch"

databases:
  default_type: "postgresql"
  pool_size: 10
  max_overflow: 20

pipelines:
  directory: "./config/pipelines"
  default: "exoplanet_generation"

logging:
  level: "INFO"
  format: "json"
"""
EXOPLANETS = """\
pipeline:
  name: "exoplanet_generator"
  model:
    type: "pytorch"
    path: "models/transformer_v42.pt"
    device: "cuda"

  preprocessing:
    - name: "load_normalization_stats"
      source: "database"
      query: "SELECT * FROM normalization_stats"
    - name: "quantize_input"
      params:
        num_bins: 253
        offset: 3

  postprocessing:
    - name: "dequantize_output"
      params:
        num_bins: 253
        offset: 3
    - name: "denormalize"
      source: "stats"
    - name: "validate_system"

  database:
    type: "postgresql"
    host: "localhost"
    port: 5432
    database: "exoplanets"
    user: "${DB_USER}"
    password: "${DB_PASSWORD}"
"""
MODEL = """\
name: "my_model"
type: "pytorch"
path: "models/my_model.pt"
device: "cuda"
input_spec:
  - name: "input_ids"
    shape: [1, 64]
    dtype: "int64"
output_spec:
  - name: "logits"
    shape: [1, 64, 256]
    dtype: "float32"
"""
PIPELINE = """\
name: "my_pipeline"
model: "my_model"
preprocessing:
  - name: "tokenize"
    params:
      max_length: 64
postprocessing:
  - name: "decode_tokens"
"""
DATABASE = """\
type: "postgresql"
host: "localhost"
port: 5432
database: "my_database"
user: "${DB_USER}"
password: "${DB_PASSWORD}"
pool_size: 10
"""
ENVIRONMENT = "DB_USER=headrace\nDB_PASSWORD=tr0ub4dor\n"
STEPS = "def validate_system(text): return text\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_exoplanet_workspace_lacks_only_what_this_version_lacks(tmp_path: Path) -> None:
    files = {
        "config/main.yaml": MAIN,
        "config/pipelines/exoplanet_generation.yaml": EXOPLANETS,
        "config/databases/my_db.yaml": DATABASE,
        "models/transformer_v42.pt": "",
        "steps/systems.py": STEPS,
        ".env": ENVIRONMENT,
    }
    write(tmp_path, files)

    report = assembly.check(tmp_path / "config" / "main.yaml")

    assert all("is not available in this version" in line for line in report.mistakes), report.mistakes
    assert [line.split(": ")[1] for line in report.mistakes] == [
        "pipeline.model.type",
        "pipeline.preprocessing[0].source",
        "pipeline.postprocessing[1].source",
    ]


def test_the_file_s_stem_is_an_alias_and_the_artefact_names_the_model(tmp_path: Path) -> None:
    files = {
        "config/pipelines/exoplanet_generation.yaml": EXOPLANETS.replace('"pytorch"', '"echo"', 1),
        "steps/systems.py": STEPS,
        ".env": ENVIRONMENT,
    }
    workspace = WorkspaceFiles(write(tmp_path, files), default_pipeline="exoplanet_generation")

    declared = workspace.check().declared

    assert set(declared.pipelines) == {PipelineRef("exoplanet_generator", "1")}
    assert set(declared.models) == {("transformer_v42", "1")}
    assert declared.aliases == {"exoplanet_generation": "exoplanet_generator"}
    assert declared.default == "exoplanet_generator"


def test_the_text_workspace_fits_together(tmp_path: Path) -> None:
    files = {
        "config/models/my_model.yaml": MODEL.replace('"pytorch"', '"echo"'),
        "config/pipelines/my_pipeline.yaml": PIPELINE,
    }
    workspace = WorkspaceFiles(write(tmp_path, files))

    found = workspace.check()

    assert found.mistakes == ()


def test_a_step_that_reads_a_named_database_is_understood(tmp_path: Path) -> None:
    step = """\
preprocessing:
  - name: "load_reference_data"
    source: "database"
    database: "my_db"
    query: "SELECT * FROM reference_table WHERE id = :id"
"""
    files = {
        "config/databases/my_db.yaml": DATABASE,
        "config/pipelines/p.yaml": "model: {type: echo}\n" + step,
        ".env": ENVIRONMENT,
    }
    workspace = WorkspaceFiles(write(tmp_path, files))

    found = workspace.check()

    assert [mistake.message for mistake in found.mistakes] == ["source: database is not available in this version"]
