# A table of contents: what each target does is in scripts/, playbooks/ and tests/hosts/host.

include scripts/local.env

SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Else each of Ansible's processes, one a task and host, would compile the plugins anew.
unexport PYTHONDONTWRITEBYTECODE

# Handed to ansible-playbook: make site ARGS='--check --diff'
ARGS :=

.PHONY: help
help: ## list what make can do
	@awk -F ':.*## ' '/^##/ {print "\n" substr($$0, 4)} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@echo

## Try it
.PHONY: up down ssh url ca
up: bootstrap ## a Debian host on this machine, the whole stack on it, https://
	@scripts/up

down: ## drop that host
	@tests/hosts/host destroy $(HOST)
	@rm -f inventories/local/hosts.yml $(CA)
	@echo "==> Down: the host $(HOST) is gone"

ssh: ## log in to it
	@tests/hosts/host ssh $(HOST)

url: ## print its address
	@echo $(URL)

ca: ## print the file with its CA
	@echo $(CURDIR)/$(CA)

## Bring your own application
.PHONY: new doctor
new: bootstrap ## write its entry: make new APP=shop SOURCE=../shop INVENTORY=inventories/production
	@scripts/new "$(APP)" $(if $(SOURCE),--source "$(SOURCE)") $(if $(INVENTORY),--inventory "$(INVENTORY)")

doctor: bootstrap ## check an inventory, and change nothing: make doctor INVENTORY=inventories/production
	@ansible-playbook $(if $(INVENTORY),-i "$(INVENTORY)") playbooks/doctor.yml $(ARGS)

## Run a playbook on it (ARGS='--check --diff' to look first)
.PHONY: site deploy rollback maintenance status patch audit
site: bootstrap ## set up everything: site.yml
	@ansible-playbook site.yml $(ARGS)

deploy: bootstrap ## ship a release
	@ansible-playbook playbooks/deploy.yml $(ARGS)

rollback: bootstrap ## go back to the previous one
	@ansible-playbook playbooks/rollback.yml $(ARGS)

maintenance: bootstrap ## a page instead of an application: make maintenance APP=board STATE=on
	@ansible-playbook playbooks/maintenance.yml -e app="$(APP)" -e state="$(STATE)" $(ARGS)

status: bootstrap ## what runs where, and how it is
	@ansible-playbook playbooks/status.yml $(ARGS)

patch: bootstrap ## security upgrades, host by host, with a reboot where one is needed
	@ansible-playbook playbooks/patch.yml $(ARGS)

audit: bootstrap ## what an auditor would see, and what is new: .slipway/audit/audit.html
	@ansible-playbook playbooks/audit.yml $(ARGS)

## Work on Slipway
.PHONY: bootstrap check test test-metal bench pictures docs lock clean
bootstrap: ## this machine's tools: Debian packages, and .venv with locked versions
	@scripts/bootstrap

check: bootstrap ## lint, types, unit tests: no host, two minutes on two cores
	@scripts/check

test: bootstrap ## everything: check, a real PostgreSQL, every Molecule scenario but metal
	@scripts/test

test-metal: bootstrap ## what takes a kernel of its own, in QEMU: slow, so test leaves it out
	@scripts/test-metal

bench: bootstrap ## speed beside what people would use instead, into docs/performance: a quarter of an hour
	@python tests/bench/speed/run.py $(ARGS)

pictures: bootstrap ## of the board, into docs/images; wants Debian's chromium
	@python tests/pictures.py

docs: bootstrap ## the options tables in the roles' READMEs, from their argument specs
	@scripts/role-docs

lock: bootstrap ## pin versions anew after a change of pyproject.toml; APP=shop: an application's, into locks/
ifdef APP
	@ansible-playbook $(if $(INVENTORY),-i "$(INVENTORY)") playbooks/lock.yml -e app="$(APP)" $(ARGS)
else
	@scripts/lock
endif

clean: ## drop the hosts, their images and all that is generated
	@tests/hosts/host purge
	@tests/hosts/machine purge
	@rm -rf .slipway .venv inventories/local/hosts.yml
