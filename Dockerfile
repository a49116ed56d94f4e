# camcli in a container, for CPUs: see docs/ci.md. The command reads and writes /pictures, and runs as no root.
FROM python:3.13-slim AS build

# Address of a package index with torch for CPUs. pip's own has torch for CUDA on x86-64, which is several GB larger.
ARG TORCH_INDEX=

RUN python -m venv /opt/camcli
ENV PATH=/opt/camcli/bin:$PATH
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY docs/camcli.1 docs/
COPY src src/
# The OpenCV that needs no display, so that the image needs no library of one.
RUN sed -i 's/"opencv-python>/"opencv-python-headless>/' pyproject.toml && pip install --no-cache-dir .

FROM python:3.13-slim

COPY --from=build /opt/camcli /opt/camcli
ENV PATH=/opt/camcli/bin:$PATH TORCH_HOME=/weights
# Whoever it runs as may write: docker run --user "$(id -u):$(id -g)".
RUN useradd --uid 1000 --create-home camcli && install --directory --mode=1777 /pictures /weights
USER 1000
WORKDIR /pictures
ENTRYPOINT ["camcli"]
