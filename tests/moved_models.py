"Models whose trained weights were moved away from where they began, and what they answer"

import torch

IDS = torch.arange(5, 25)[None]


@torch.no_grad()
def moved(model, std=0.05):
    torch.manual_seed(0)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.add_(std * torch.randn_like(weight))
    return model.eval()


@torch.no_grad()
def logits(model):
    return model(IDS).logits.float()
