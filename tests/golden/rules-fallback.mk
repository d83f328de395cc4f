# Made by bin/plan from configs/; edits are lost. What `run` does stands
# in mk/command.mk. Paste any command into a shell: it does the same there.

all := results/five/alpha/results.json results/four/beta/results.json results/four/gamma/results.json results/one/alpha/results.json results/one/beta/results.json results/six/alpha/results.json results/six/beta/results.json results/six/gamma/results.json results/three/alpha/results.json results/two/alpha/results.json results/two/beta/results.json
retry := environment/standin_1_0_0
environments := venvs/lm_eval_0_0_1/.stamp venvs/lm_eval_0_0_2/.stamp venvs/standin_1_0_0/.stamp venvs/standin_1_1_0/.stamp venvs/standin_2_0_0/.stamp venvs/standin_gpu_1_1_0/.stamp venvs/standin_gpu_2_0_0/.stamp

# configs/tasks/gamma.yaml
venvs/lm_eval_0_0_1.lock: build/specs/env/lm_eval_0_0_1.json
	$(call run,LOCK,bin/venv lock lm_eval_0_0_1)
venvs/lm_eval_0_0_1/.stamp: venvs/lm_eval_0_0_1.lock
	$(call run,VENV,bin/venv create lm_eval_0_0_1)
	@touch $@

# configs/tasks/alpha.yaml
venvs/lm_eval_0_0_2.lock: build/specs/env/lm_eval_0_0_2.json
	$(call run,LOCK,bin/venv lock lm_eval_0_0_2)
venvs/lm_eval_0_0_2/.stamp: venvs/lm_eval_0_0_2.lock
	$(call run,VENV,bin/venv create lm_eval_0_0_2)
	@touch $@

# configs/models/three.yaml:5
venvs/standin_1_0_0.lock: build/specs/env/standin_1_0_0.json
	$(call run,LOCK,bin/venv lock standin_1_0_0)
venvs/standin_1_0_0/.stamp: venvs/standin_1_0_0.lock
	$(call run,VENV,bin/venv create standin_1_0_0)
	@touch $@

# configs/models/four.yaml:5
venvs/standin_1_1_0.lock: build/specs/env/standin_1_1_0.json
	$(call run,LOCK,bin/venv lock standin_1_1_0)
venvs/standin_1_1_0/.stamp: venvs/standin_1_1_0.lock
	$(call run,VENV,bin/venv create standin_1_1_0)
	@touch $@

# configs/engines/standin.yaml
venvs/standin_2_0_0.lock: build/specs/env/standin_2_0_0.json
	$(call run,LOCK,bin/venv lock standin_2_0_0)
venvs/standin_2_0_0/.stamp: venvs/standin_2_0_0.lock
	$(call run,VENV,bin/venv create standin_2_0_0)
	@touch $@

# configs/models/five.yaml:5
venvs/standin_gpu_1_1_0.lock: build/specs/env/standin_gpu_1_1_0.json
	$(call run,LOCK,bin/venv lock standin_gpu_1_1_0)
venvs/standin_gpu_1_1_0/.stamp: venvs/standin_gpu_1_1_0.lock
	$(call run,VENV,bin/venv create standin_gpu_1_1_0)
	@touch $@

# configs/engines/standin_gpu.yaml
venvs/standin_gpu_2_0_0.lock: build/specs/env/standin_gpu_2_0_0.json
	$(call run,LOCK,bin/venv lock standin_gpu_2_0_0)
venvs/standin_gpu_2_0_0/.stamp: venvs/standin_gpu_2_0_0.lock
	$(call run,VENV,bin/venv create standin_gpu_2_0_0)
	@touch $@

# configs/models/five.yaml: alpha
results/five/alpha/results.json: build/specs/result/five/alpha.json venvs/standin_gpu_1_1_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval five alpha)
# configs/models/four.yaml: beta
results/four/beta/results.json: build/specs/result/four/beta.json venvs/standin_1_1_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval four beta)
# configs/models/four.yaml: gamma
results/four/gamma/results.json: build/specs/result/four/gamma.json venvs/standin_1_1_0.lock venvs/lm_eval_0_0_1.lock
	$(call run,EVAL,bin/eval four gamma)
# configs/models/one.yaml: alpha
results/one/alpha/results.json: build/specs/result/one/alpha.json venvs/standin_2_0_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval one alpha)
# configs/models/one.yaml: beta
results/one/beta/results.json: build/specs/result/one/beta.json venvs/standin_2_0_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval one beta)
# configs/models/six.yaml: alpha
results/six/alpha/results.json: build/specs/result/six/alpha.json venvs/standin_gpu_2_0_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval six alpha)
# configs/models/six.yaml: beta
results/six/beta/results.json: build/specs/result/six/beta.json venvs/standin_gpu_2_0_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval six beta)
# configs/models/six.yaml: gamma
results/six/gamma/results.json: build/specs/result/six/gamma.json venvs/standin_gpu_2_0_0.lock venvs/lm_eval_0_0_1.lock
	$(call run,EVAL,bin/eval six gamma)
# configs/models/three.yaml: alpha (fallback: standin_1_0_0 could not be built)
results/three/alpha/results.json: build/specs/result/three/alpha.json venvs/standin_2_0_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval three alpha)
# configs/models/two.yaml: alpha (fallback: standin_1_0_0 could not be built)
results/two/alpha/results.json: build/specs/result/two/alpha.json venvs/standin_2_0_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval two alpha)
# configs/models/two.yaml: beta (fallback: standin_1_0_0 could not be built)
results/two/beta/results.json: build/specs/result/two/beta.json venvs/standin_2_0_0.lock venvs/lm_eval_0_0_2.lock
	$(call run,EVAL,bin/eval two beta)

# An environment that can't be built stops nothing: a model is then served by another.
environment/lm_eval_0_0_1:
	$(call run,VENV,bin/venv create --soft lm_eval_0_0_1)
environment/lm_eval_0_0_2:
	$(call run,VENV,bin/venv create --soft lm_eval_0_0_2)
environment/standin_1_0_0:
	$(call run,VENV,bin/venv create --soft standin_1_0_0)
environment/standin_1_1_0:
	$(call run,VENV,bin/venv create --soft standin_1_1_0)
environment/standin_2_0_0:
	$(call run,VENV,bin/venv create --soft standin_2_0_0)
environment/standin_gpu_1_1_0:
	$(call run,VENV,bin/venv create --soft standin_gpu_1_1_0)
environment/standin_gpu_2_0_0:
	$(call run,VENV,bin/venv create --soft standin_gpu_2_0_0)
.PHONY: environment/lm_eval_0_0_1 environment/lm_eval_0_0_2 environment/standin_1_0_0 environment/standin_1_1_0 environment/standin_2_0_0 environment/standin_gpu_1_1_0 environment/standin_gpu_2_0_0

# What this file is made from; one that vanished is a reason to make it again.
build/rules.mk: configs/locks lib/benchy/*/*.py tests/build/configs tests/build/configs/config.yaml tests/build/configs/engines tests/build/configs/engines/lm_eval.yaml tests/build/configs/engines/standin.yaml tests/build/configs/engines/standin_gpu.yaml tests/build/configs/models tests/build/configs/models/five.yaml tests/build/configs/models/four.yaml tests/build/configs/models/one.yaml tests/build/configs/models/six.yaml tests/build/configs/models/three.yaml tests/build/configs/models/two.yaml tests/build/configs/providers tests/build/configs/providers/standin.yaml tests/build/configs/providers/standin_gpu.yaml tests/build/configs/providers/standin_two_gpus.yaml tests/build/configs/tasks tests/build/configs/tasks/alpha.yaml tests/build/configs/tasks/beta.yaml tests/build/configs/tasks/gamma.yaml uv.lock venvs/.failed
configs/locks:
lib/benchy/*/*.py:
tests/build/configs:
tests/build/configs/config.yaml:
tests/build/configs/engines:
tests/build/configs/engines/lm_eval.yaml:
tests/build/configs/engines/standin.yaml:
tests/build/configs/engines/standin_gpu.yaml:
tests/build/configs/models:
tests/build/configs/models/five.yaml:
tests/build/configs/models/four.yaml:
tests/build/configs/models/one.yaml:
tests/build/configs/models/six.yaml:
tests/build/configs/models/three.yaml:
tests/build/configs/models/two.yaml:
tests/build/configs/providers:
tests/build/configs/providers/standin.yaml:
tests/build/configs/providers/standin_gpu.yaml:
tests/build/configs/providers/standin_two_gpus.yaml:
tests/build/configs/tasks:
tests/build/configs/tasks/alpha.yaml:
tests/build/configs/tasks/beta.yaml:
tests/build/configs/tasks/gamma.yaml:
uv.lock:
venvs/.failed:
