# An image with the pipeline and its embedded demo. TORCH_INDEX: the address of PyTorch's builds for CPUs alone, as
# PyTorch's page "Start Locally" prints it; without it the image has CUDA. See docs/install.md.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git g++ \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory '*'

WORKDIR /wildseg
ARG TORCH_INDEX=
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN if [ -n "$TORCH_INDEX" ]; then \
        pip install --no-cache-dir -c constraints.txt torch torchvision --index-url "$TORCH_INDEX"; fi \
    && pip install --no-cache-dir -c constraints.txt -e '.[ros,onnx]'
COPY . .

ENV DVC_NO_ANALYTICS=1
ENTRYPOINT ["wildseg"]
CMD ["--help"]
