# redisd: build, check, test, package. "make" alone lists what there is.

VERSION           ?= $(shell sed -n 's/^\#\# \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -n 1)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
GOARCH            ?= $(shell go env GOARCH)
DEB_ARCH           = $(GOARCH)
DEB                = dist/redisd_$(VERSION)_$(DEB_ARCH).deb

# Go would ask git for a stamp, which refuses a checkout that another user owns.
export GOFLAGS += -buildvcs=false
export VERSION SOURCE_DATE_EPOCH GOARCH DEB_ARCH

BUILD   = CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
TOOL    = env -u GOARCH go tool -modfile=packaging/tools/go.mod
# Tests of whole hosts need root: their binary alone gets it, the compiler does not.
AS_ROOT = $(if $(filter 0,$(shell id -u)),,-exec 'sudo -E env PATH=$(PATH)')

# Of the lab (test/): what hosts are booted from (debian12, debian13, valkey; see test/lab/setup.sh), which run of the
# chaos, how long, which benchmark.
export REDISD_LAB_IMAGE := $(or $(IMAGE),$(REDISD_LAB_IMAGE),debian12)
SEED         ?=
ROUNDS       ?=
ONLY         ?=
PLAY         ?=
NODES        ?=
CHAOS_TABLE  ?=
CHAOS_RECORD ?=
TEST_TIMEOUT ?= 90m
FUZZTIME     ?= 30s
LARGE        ?= 3
export SEED ROUNDS ONLY PLAY NODES CHAOS_TABLE CHAOS_RECORD

.DEFAULT_GOAL := help
.PHONY: help build demo test unit lab check fmt vet staticcheck deb bench chaos clients large versions vm fuzz deps-redis deps-race deps-strace deps-lab deps-clients clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: bin/redisd ## build bin/redisd

bin/redisd: FORCE
	env -u GOARCH $(BUILD) -o $@ ./cmd/redisd

demo: deps-redis build ## three nodes on this machine: no root, no configuration
	./bin/redisd demo

check: fmt vet staticcheck ## formatting, vet and staticcheck

fmt:
	@unformatted=$$(gofmt -l .) && \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi

vet:
	go vet ./...

staticcheck:
	$(TOOL) staticcheck ./...

test: fmt vet unit lab ## every test there is: on this machine, then on booted hosts (root)

unit: deps-redis deps-race deps-strace deb ## the tests that need no root, with the race detector
	REDISD_DEB=$(abspath $(DEB)) go test -race $$(go list ./... | grep -v '/test\(/\|$$\)')

lab: deps-lab deps-clients deb ## the tests on booted hosts (root); IMAGE=debian13, or valkey: on that
	REDISD_DEB=$(abspath $(DEB)) go test -count=1 -timeout $(TEST_TIMEOUT) $(AS_ROOT) ./test/...

clients: deps-lab deb ## what client libraries see of every fault, RUNS times (3): docs/CLIENTS.md
	$(if $(filter 0,$(shell id -u)),,sudo) test/clients/setup.sh --npm
	REDISD_DEB=$(abspath $(DEB)) CLIENTS=all CLIENTS_DOCS=$(abspath docs) \
		go test -count=1 -v -timeout $(TEST_TIMEOUT) $(AS_ROOT) -run '^(TestTimelines|TestClients)$$' ./test/clients

bench: deps-lab deb ## redisd beside three manual set-ups, fault by fault: docs/BENCHMARK.md
	REDISD_DEB=$(abspath $(DEB)) REDISD_BENCH=1 BENCH_DOCS=$(abspath docs) \
		go test -count=1 -v -timeout $(TEST_TIMEOUT) $(AS_ROOT) -run '^TestBench$$' ./test/bench
	$(if $(filter 0,$(shell id -u)),,sudo) test/clients/setup.sh --npm
	REDISD_DEB=$(abspath $(DEB)) REDISD_BENCH=1 BENCH_DOCS=$(abspath docs) \
		go test -count=1 -v -timeout $(TEST_TIMEOUT) $(AS_ROOT) -run '^TestBeside$$' ./test/clients

chaos: deps-lab deb ## faults at random: SEED= repeats a run, ROUNDS= makes it longer, NODES= larger; ROUNDS=each: all there are
	REDISD_DEB=$(abspath $(DEB)) go test -count=1 -v -timeout $(TEST_TIMEOUT) $(AS_ROOT) -run Chaos ./test/...

large: deps-lab deb ## a dataset of 1 GiB and the faults of it, LARGE times (3)
	REDISD_DEB=$(abspath $(DEB)) REDISD_LARGE=$(LARGE) go test -count=1 -v -timeout $(TEST_TIMEOUT) $(AS_ROOT) -run '^TestLargeDataset$$' ./test/chaos

versions: deps-lab deb ## the end-to-end tests on Redis 8.0 and Valkey, and clusters of several versions
	for image in debian13 valkey; do \
		REDISD_DEB=$(abspath $(DEB)) REDISD_LAB_IMAGE=$$image \
			go test -count=1 -timeout $(TEST_TIMEOUT) $(AS_ROOT) ./test/e2e || exit 1; \
	done
	REDISD_DEB=$(abspath $(DEB)) REDISD_VERSIONS=1 REDISD_LAB_IMAGE=debian12 go test -count=1 -v -timeout $(TEST_TIMEOUT) $(AS_ROOT) \
		-run '^(TestTooOldRedis|TestValkeyAlone|TestMixedVersions|TestRedisUpgrade)$$' ./test/e2e

vm: deps-lab deb ## one of three hosts a QEMU guest, paused while it is the primary: test/vm/README.md
	debs=$$($(if $(filter 0,$(shell id -u)),,sudo) test/vm/setup.sh) && REDISD_DEB=$(abspath $(DEB)) REDISD_VM=$$debs \
		go test -count=1 -v -timeout $(TEST_TIMEOUT) $(AS_ROOT) ./test/vm

fuzz: ## every fuzz target for FUZZTIME (30s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			echo "$$(dirname "$$file") $$name"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
		done; \
	done

deb: bin/redisd dist/redisd-linux-$(GOARCH) ## the package, in dist/ (GOARCH=arm64 for another architecture)
	packaging/deb/stage
	$(TOOL) nfpm package --config packaging/deb/nfpm.yaml --packager deb --target $(DEB)

dist/redisd-linux-$(GOARCH): FORCE
	GOOS=linux $(BUILD) -o $@ ./cmd/redisd

deps-redis:
	@.ci/need redis-server:redis-server redis-sentinel:redis-sentinel redis-cli:redis-tools

deps-race:
	@.ci/need gcc:gcc gcc:libc6-dev

deps-strace:
	@.ci/need strace:strace

deps-lab: deps-redis deps-strace
	$(if $(filter 0,$(shell id -u)),,sudo) env REDISD_LAB_IMAGE=$(REDISD_LAB_IMAGE) test/lab/setup.sh

deps-clients:
	$(if $(filter 0,$(shell id -u)),,sudo) test/clients/setup.sh

clean: ## remove what was built
	rm -rf bin dist
