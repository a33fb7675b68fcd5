"""Optimizers as Din defines them: a row of a table moves only in a step whose batch contains its
id, and Adam's bias correction counts the steps of the run."""

import torch


class Optimizer:
    """One step for every weight and table of a model."""

    def __init__(self, model, penalty):
        self.model, self.penalty, self.step = model, penalty, 0
        self.states = {}

    def gradients(self):
        """By Din's name; a penalty included."""
        found = {}
        for name, (weight, transposed) in self.model.named.items():
            grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            found[f"param.{name}"] = grad.T if transposed else grad
        for name, table in self.model.tables.items():
            grad = torch.zeros_like(table.weight) if table.weight.grad is None else table.weight.grad.clone()
            if name in self.penalty:
                rows = torch.cat([each.flatten() for each in table.touched]).unique()
                grad[rows] += self.penalty[name][rows, None] * table.weight.detach()[rows]
            found[f"table.{name}"] = grad
        return found

    @torch.no_grad()
    def update(self, gradients):
        self.step += 1
        for name, (weight, transposed) in self.model.named.items():
            grad = gradients[f"param.{name}"]
            self.move(f"param.{name}", weight, slice(None), grad.T if transposed else grad, self.model.optimizer_of(None))
        for name, table in self.model.tables.items():
            rows = torch.cat([each.flatten() for each in table.touched]).unique()
            grad = gradients[f"table.{name}"][rows]
            self.move(f"table.{name}", table.weight, rows, grad, self.model.optimizer_of(name))

    def state(self, name, slot, weight):
        return self.states.setdefault((name, slot), torch.zeros_like(weight))

    def move(self, name, weight, rows, grad, kind):
        getattr(self, kind)(name, weight, rows, grad)

    def adam(self, name, weight, rows, grad, beta1=0.9, beta2=0.999, eps=1e-8):
        m, v = self.state(name, "m", weight), self.state(name, "v", weight)
        m[rows] = beta1 * m[rows] + (1 - beta1) * grad
        v[rows] = beta2 * v[rows] + (1 - beta2) * grad**2
        corrected = m[rows] / (1 - beta1**self.step), v[rows] / (1 - beta2**self.step)
        weight[rows] -= self.model.lr * corrected[0] / (corrected[1].sqrt() + eps)

    def adagrad(self, name, weight, rows, grad, eps=1e-10):
        s = self.state(name, "s", weight)
        s[rows] += grad**2
        weight[rows] -= self.model.lr * grad / (s[rows].sqrt() + eps)

    def ftrl(self, name, weight, rows, grad, alpha=0.1, beta=0.01, l1=0.001):
        """McMahan et al., 2013, Algorithm 1, with lambda_2 = 0."""
        z, n = self.state(name, "z", weight), self.state(name, "n", weight)
        sigma = ((n[rows] + grad**2).sqrt() - n[rows].sqrt()) / alpha
        z[rows] += grad - sigma * weight[rows]
        n[rows] += grad**2
        shrunk = torch.sign(z[rows]) * (z[rows].abs() - l1).clamp(min=0)
        weight[rows] = -shrunk / ((beta + n[rows].sqrt()) / alpha)
